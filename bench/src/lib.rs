//! What edgeloop is measured with. Nothing here is part of the product.

pub mod client;
pub mod counter;
pub mod figures;
pub mod inferer;
pub mod load;
pub mod reload;
pub mod versions;
