use std::time::Instant;

use futures::future::join_all;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Address, Answer, Plan, SPACING, reason_of};
use crate::verdict::Reason;

/// One connect a request, the ports in turn.
pub(super) async fn round(target: &Address, plan: &Plan) -> Vec<Answer> {
    let ports = plan.tcp_ports.iter().cycle().take(usize::from(plan.requests));
    join_all(ports.zip(0_u32..).map(|(port, i)| async move {
        sleep(SPACING * i).await;
        connect(target, *port, plan).await
    }))
    .await
}

async fn connect(target: &Address, port: u16, plan: &Plan) -> Answer {
    let start = Instant::now();
    match timeout(plan.timeout, TcpStream::connect(target.socket_addr(port))).await {
        Ok(Ok(_)) => Answer { reason: Reason::GatewayReplied, rtt: Some(start.elapsed()) },
        Ok(Err(error)) => {
            let reason = reason_of(&error);
            Answer { reason, rtt: reason.is_reached().then(|| start.elapsed()) }
        }
        Err(_) => Answer::none(Reason::NoReply),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Duration;
    use tokio::net::TcpListener;

    fn plan(port: u16) -> Plan {
        Plan { requests: 2, timeout: Duration::from_secs(10), tcp_ports: vec![port] }
    }

    #[tokio::test]
    async fn an_open_port_answers() {
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let Ok(listener) = TcpListener::bind((ip, 0)).await else {
                assert!(ip.is_ipv6(), "IPv4 loopback is there");
                continue;
            };
            let answers = round(&ip.into(), &plan(listener.local_addr().unwrap().port())).await;
            assert!(answers.iter().all(|answer| answer.reason == Reason::GatewayReplied && answer.rtt.is_some()), "{answers:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_answers_too() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let answers = round(&IpAddr::V4(Ipv4Addr::LOCALHOST).into(), &plan(port)).await;
        assert!(answers.iter().all(|answer| answer.reason == Reason::GatewayRefused && answer.rtt.is_some()), "{answers:?}");
    }

    #[tokio::test]
    async fn ports_are_tried_in_turn() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let open = listener.local_addr().unwrap().port();
        let spare = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let closed = spare.local_addr().unwrap().port();
        drop(spare);
        let plan = Plan { requests: 3, timeout: Duration::from_secs(10), tcp_ports: vec![closed, open] };
        let reasons: Vec<_> = round(&IpAddr::V4(Ipv4Addr::LOCALHOST).into(), &plan).await.iter().map(|answer| answer.reason).collect();
        assert_eq!(reasons, [Reason::GatewayRefused, Reason::GatewayReplied, Reason::GatewayRefused]);
    }
}
