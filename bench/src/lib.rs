//! What edgeloop is measured with. Nothing here is part of the product.

pub mod counter;
pub mod load;
