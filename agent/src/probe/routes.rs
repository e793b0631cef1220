//! The host's default gateway, from the host's route table.
//!
//! Inside a pod's own network the default gateway is the cluster's bridge, which always answers: an agent that asked it would call
//! every node online for ever. So a table counts only where it is known to be the host's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};

use super::Address;

const RTF_UP: u32 = 1;
const RTF_GATEWAY: u32 = 2;

/// What is known about where we run.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The host's `/proc`, mounted somewhere.
    pub host_proc: Option<PathBuf>,
    /// The node's address (downward API, `status.hostIP`).
    pub host_ip: Option<IpAddr>,
    /// Whether this is a pod.
    pub in_pod: bool,
}

/// No route table of the host's is to be seen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHostRoutes {
    /// A pod in a network of its own.
    #[error(
        "`auto` needs the host's route table, and this pod has a network of its own ({0} is not among its addresses): its gateway is the cluster's bridge, which always answers. Use hostNetwork: true, or mount the host's /proc and set HOST_PROC, or name the gateway"
    )]
    OwnNetwork(IpAddr),
    /// A pod, and nobody said where.
    #[error(
        "`auto` needs the host's route table, and nothing says whether this pod shares the host's network: set HOST_IP from status.hostIP (with hostNetwork: true), or mount the host's /proc and set HOST_PROC, or name the gateway"
    )]
    Unknown,
    /// `HOST_PROC` is not what it should be.
    #[error("HOST_PROC: there is no route table at {0}; mount the host's /proc there")]
    NoTable(PathBuf),
}

/// The host's route table.
#[derive(Clone, Debug)]
pub struct Routes {
    net: PathBuf,
}

impl Routes {
    /// Finds it.
    ///
    /// # Errors
    /// [`NoHostRoutes`] when only the pod's own is visible.
    pub fn of_host(around: &Surroundings) -> Result<Self, NoHostRoutes> {
        if let Some(proc) = &around.host_proc {
            let net = proc.join("1/net");
            return if net.join("route").exists() { Ok(Routes { net }) } else { Err(NoHostRoutes::NoTable(net)) };
        }
        match around.host_ip {
            _ if !around.in_pod => {}
            None => return Err(NoHostRoutes::Unknown),
            // Only an address of this network can be bound.
            Some(ip) if UdpSocket::bind((ip, 0)).is_err() => return Err(NoHostRoutes::OwnNetwork(ip)),
            Some(_) => {}
        }
        Ok(Routes { net: PathBuf::from("/proc/self/net") })
    }

    /// The default gateway: IPv4, else IPv6; of several the one with the lowest metric. `None` without a default route, or where it
    /// leads into a point-to-point link that has no gateway.
    #[must_use]
    pub fn gateway(&self) -> Option<Address> {
        let read = |name: &str| std::fs::read_to_string(Path::join(&self.net, name)).unwrap_or_default();
        ipv4(&read("route")).map(|ip| IpAddr::from(ip).into()).or_else(|| ipv6(&read("ipv6_route")))
    }
}

/// `/proc/net/route`: Iface Destination Gateway Flags RefCnt Use Metric Mask …; addresses as the kernel holds them, in hex.
fn ipv4(table: &str) -> Option<Ipv4Addr> {
    let gateways = table.lines().filter_map(|line| {
        let [_, destination, gateway, flags, _, _, metric, mask] = line.split_whitespace().take(8).collect::<Vec<_>>()[..] else {
            return None;
        };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let default = hex(destination)? == 0 && hex(mask)? == 0;
        let usable = hex(flags)? & (RTF_UP | RTF_GATEWAY) == RTF_UP | RTF_GATEWAY;
        (default && usable).then_some((metric.parse::<u32>().ok()?, Ipv4Addr::from(hex(gateway)?.to_ne_bytes())))
    });
    gateways.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

/// `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, metric, references, uses, flags, device; all in hex.
fn ipv6(table: &str) -> Option<Address> {
    let gateways = table.lines().filter_map(|line| {
        let [destination, length, _, _, next_hop, metric, _, _, flags, device] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return None;
        };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let address = |text| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from);
        let usable = hex(flags)? & (RTF_UP | RTF_GATEWAY) == RTF_UP | RTF_GATEWAY;
        let gateway = address(next_hop)?;
        (hex(length)? == 0 && address(destination)?.is_unspecified() && usable && !gateway.is_unspecified())
            .then(|| (hex(metric), gateway, device))
    });
    let (_, gateway, device) = gateways.min_by_key(|(metric, ..)| *metric)?;
    Some(match gateway.is_unicast_link_local() {
        true => Address::on_link(gateway.into(), device.to_owned()),
        false => IpAddr::from(gateway).into(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\tFE00000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
ppp0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
";
    const IPV6_ROUTE: &str = "\
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    fn host(route: &str, ipv6_route: &str) -> (tempfile::TempDir, Surroundings) {
        let dir = tempfile::tempdir().unwrap();
        let net = dir.path().join("1/net");
        std::fs::create_dir_all(&net).unwrap();
        std::fs::write(net.join("route"), route).unwrap();
        std::fs::write(net.join("ipv6_route"), ipv6_route).unwrap();
        let around = Surroundings { host_proc: Some(dir.path().to_owned()), in_pod: true, host_ip: None };
        (dir, around)
    }

    fn gateway(route: &str, ipv6_route: &str) -> Option<String> {
        let (_dir, around) = host(route, ipv6_route);
        Routes::of_host(&around).unwrap().gateway().map(|address| address.to_string())
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn ipv4_comes_first_and_the_lowest_metric_that_has_a_gateway() {
        assert_eq!(gateway(ROUTE, IPV6_ROUTE).unwrap(), "10.0.0.254");
    }

    #[test]
    fn without_ipv4_the_ipv6_gateway_with_its_link() {
        assert_eq!(gateway("", IPV6_ROUTE).unwrap(), "fe80::1%eth0");
        assert_eq!(
            gateway("", &IPV6_ROUTE.replace("fe800000000000000000000000000001", "fd000000000000000000000000000001")).unwrap(),
            "fd00::1"
        );
    }

    #[test]
    fn no_default_route_is_no_gateway() {
        assert_eq!(gateway(ROUTE.lines().next().unwrap(), IPV6_ROUTE.lines().next().unwrap()), None);
    }

    #[test]
    fn the_table_follows_the_host() {
        let (dir, around) = host("", "");
        let routes = Routes::of_host(&around).unwrap();
        assert_eq!(routes.gateway(), None);
        std::fs::write(dir.path().join("1/net/ipv6_route"), IPV6_ROUTE).unwrap();
        assert!(routes.gateway().is_some());
    }

    #[test]
    fn a_pod_in_a_network_of_its_own_is_refused() {
        // 192.0.2.0/24 is for documentation: nobody has it.
        let of_host = |host_ip: Option<&str>, in_pod| {
            Routes::of_host(&Surroundings { host_proc: None, host_ip: host_ip.map(|ip| ip.parse().unwrap()), in_pod }).map(|_| ())
        };
        assert_eq!(of_host(Some("192.0.2.7"), true), Err(NoHostRoutes::OwnNetwork("192.0.2.7".parse().unwrap())));
        assert_eq!(of_host(None, true), Err(NoHostRoutes::Unknown));
        assert_eq!(of_host(Some("127.0.0.1"), true), Ok(()));
        assert_eq!(of_host(None, false), Ok(()));
    }

    #[test]
    fn a_host_proc_that_is_none_is_refused() {
        let around = Surroundings { host_proc: Some("/nonexistent".into()), ..Surroundings::default() };
        assert!(Routes::of_host(&around).unwrap_err().to_string().contains("/nonexistent"));
    }
}
