use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// An IPv4 or IPv6 address, the latter with its link where it is link-local (`fe80::1%eth0`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    link: Option<String>,
}

impl Address {
    /// The address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The link's number, looked up at each round: interfaces come and go. 0 without a link, or when there is none of that name.
    #[must_use]
    pub fn scope_id(&self) -> u32 {
        let Some(link) = &self.link else { return 0 };
        let index = || std::fs::read_to_string(format!("/sys/class/net/{link}/ifindex")).ok()?.trim().parse().ok();
        link.parse().ok().or_else(index).unwrap_or(0)
    }

    /// The address with a port.
    #[must_use]
    pub fn socket_addr(&self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(_) => SocketAddr::new(self.ip, port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope_id()).into(),
        }
    }
}

impl Address {
    /// A link-local IPv6 address on `link`.
    #[must_use]
    pub fn on_link(ip: IpAddr, link: String) -> Self {
        Address { ip, link: Some(link) }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Address { ip, link: None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.link {
            Some(link) => write!(f, "{}%{link}", self.ip),
            None => write!(f, "{}", self.ip),
        }
    }
}

/// Not an address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no IP address; give one such as 192.168.1.1, fd00::1 or fe80::1%eth0 (names are not resolved: DNS may be what is cut off)"
)]
pub struct NotAnAddress(String);

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let fail = || NotAnAddress(text.to_owned());
        let (ip, link) = match text.trim().split_once('%') {
            Some((ip, link)) => (ip, Some(link)),
            None => (text.trim(), None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| fail())?;
        // The link becomes part of a path.
        let sound = |link: &str| !link.is_empty() && link.len() < 16 && !link.contains(['/', '.', '%']);
        if link.is_some_and(|link| ip.is_ipv4() || !sound(link)) || ip.is_unspecified() {
            return Err(fail());
        }
        Ok(Address { ip, link: link.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("192.168.1.1", "192.168.1.1:9")]
    #[case("fd00::1", "[fd00::1]:9")]
    #[case("fe80::1%lo", "[fe80::1%1]:9")]
    #[case("fe80::1%7", "[fe80::1%7]:9")]
    #[case(" 127.0.0.1 ", "127.0.0.1:9")]
    fn addresses(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(text.parse::<Address>().unwrap().socket_addr(9).to_string(), expected);
    }

    #[rstest]
    #[case("gateway.local")]
    #[case("192.168.1")]
    #[case("192.168.1.1%eth0")]
    #[case("fe80::1%../../x")]
    #[case("fe80::1%")]
    #[case("0.0.0.0")]
    #[case("")]
    fn refused(#[case] text: &str) {
        assert_eq!(text.parse::<Address>(), Err(NotAnAddress(text.to_owned())));
    }
}
