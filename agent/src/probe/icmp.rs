use std::io::{Error, ErrorKind};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use futures::future::join_all;
use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::time::sleep;

use super::{Address, Answer, Family, Plan, SPACING, reason_of};
use crate::jitter::Jitter;
use crate::verdict::Reason;

/// 56 bytes, as ping sends.
const PAYLOAD: [u8; 56] = [0xED; 56];
/// ICMP types (RFC 792, RFC 4443): only these mean that the target itself answered.
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REPLY_V6: u8 = 129;

pub(super) struct Icmp {
    client: Client,
    identifier: PingIdentifier,
    /// Several targets share the socket; each request has a number of its own.
    sequence: AtomicU16,
}

impl Icmp {
    /// A datagram socket first: it needs no right where the sysctl allows it, and the kernel sorts the replies. Raw next.
    pub(super) fn open(family: Family) -> std::io::Result<Self> {
        let kind = match family {
            Family::V4 => ICMP::V4,
            Family::V6 => ICMP::V6,
        };
        let client = Client::new(&Config::builder().kind(kind).build())?;
        // Raw sockets see everybody's replies; ours carry this number. Datagram sockets get one from the kernel.
        let identifier = PingIdentifier((Jitter::new().next_u64() & 0xFFFF) as u16);
        Ok(Icmp { client, identifier, sequence: AtomicU16::new(0) })
    }

    pub(super) fn socket(&self) -> &'static str {
        // SOCK_RAW is 3 on every Linux; the type itself belongs to socket2, which is not ours to name.
        if i32::from(self.client.get_socket().get_type()) == 3 { "raw" } else { "datagram" }
    }

    /// # Errors
    /// When this node refuses to send at all (EPERM, EACCES).
    pub(super) async fn round(&self, target: &Address, plan: &Plan) -> Result<Vec<Answer>, Error> {
        // Wraps around.
        let first = self.sequence.fetch_add(plan.requests, Ordering::Relaxed);
        let requests = (0..plan.requests).map(|i| self.request(target, plan, i, first.wrapping_add(i)));
        let results = join_all(requests).await;
        let refused = |result: &Result<Answer, Error>| result.as_ref().is_err();
        if results.iter().all(refused) && !results.is_empty() {
            return results.into_iter().collect();
        }
        Ok(results.into_iter().map(|result| result.unwrap_or_else(|_| Answer::none(Reason::ProbeFailed))).collect())
    }

    async fn request(&self, target: &Address, plan: &Plan, index: u16, sequence: u16) -> Result<Answer, Error> {
        sleep(SPACING * u32::from(index)).await;
        let mut pinger = self.client.pinger(target.ip(), self.identifier).await;
        pinger.timeout(plan.timeout).scope_id(target.scope_id());
        match pinger.ping(PingSequence(sequence), &PAYLOAD).await {
            // surge-ping hands over errors about our request as well (destination unreachable, time exceeded).
            Ok((packet, rtt)) if is_echo_reply(&packet, target.ip()) => Ok(Answer { reason: Reason::GatewayReplied, rtt: Some(rtt) }),
            Ok(_) => Ok(Answer::none(Reason::HostUnreachable)),
            Err(SurgeError::Timeout { .. }) => Ok(Answer::none(Reason::NoReply)),
            Err(SurgeError::IOError(error)) if error.kind() == ErrorKind::PermissionDenied => Err(error),
            Err(SurgeError::IOError(error)) => Ok(Answer::none(reason_of(&error))),
            Err(_) => Ok(Answer::none(Reason::ProbeFailed)),
        }
    }
}

fn is_echo_reply(packet: &IcmpPacket, target: IpAddr) -> bool {
    match packet {
        IcmpPacket::V4(packet) => packet.get_icmp_type().0 == ECHO_REPLY_V4 && IpAddr::V4(packet.get_source()) == target,
        IcmpPacket::V6(packet) => packet.get_icmpv6_type().0 == ECHO_REPLY_V6,
    }
}
