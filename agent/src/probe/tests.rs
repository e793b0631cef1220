#![allow(clippy::unwrap_used)]

use super::*;
use rstest::rstest;

fn answer(reason: Reason, millis: Option<u64>) -> Answer {
    Answer { reason, rtt: millis.map(Duration::from_millis) }
}

#[rstest]
#[case::any_answer_counts(&[(Reason::NoReply, None), (Reason::GatewayReplied, Some(7)), (Reason::NoReply, None)], Reason::GatewayReplied, Some(7), 1)]
#[case::the_best_time_is_told(&[(Reason::GatewayReplied, Some(9)), (Reason::GatewayReplied, Some(3))], Reason::GatewayReplied, Some(3), 2)]
#[case::silence_outranks_local_trouble(&[(Reason::ProbeFailed, None), (Reason::NoReply, None)], Reason::NoReply, None, 0)]
#[case::one_reason_stands(&[(Reason::NoRoute, None), (Reason::NoRoute, None)], Reason::NoRoute, None, 0)]
#[case::nothing_sent_is_a_failed_probe(&[], Reason::ProbeFailed, None, 0)]
fn a_round(#[case] answers: &[(Reason, Option<u64>)], #[case] reason: Reason, #[case] rtt: Option<u64>, #[case] answered: u16) {
    let answers: Vec<Answer> = answers.iter().map(|(reason, rtt)| answer(*reason, *rtt)).collect();
    let round = Round::of(&answers, Method::Icmp);
    assert_eq!((round.reason, round.rtt, round.answered), (reason, rtt.map(Duration::from_millis), answered));
}

#[test]
fn of_several_targets_the_one_that_answers_counts() {
    let round = |reason, rtt, method| Round::of(&[answer(reason, rtt)], method);
    let silent = round(Reason::NoReply, None, Method::Icmp);
    let slow = round(Reason::GatewayReplied, Some(90), Method::Http);
    let fast = round(Reason::GatewayRefused, Some(3), Method::Tcp);
    assert_eq!(Round::best([silent, slow, fast].into_iter()), fast);
    assert_eq!(Round::best([silent, slow].into_iter()), slow);
    assert_eq!(Round::best([silent, round(Reason::NoRoute, None, Method::Tcp)].into_iter()).reason, Reason::NoReply);
    assert_eq!(Round::best(std::iter::empty()).reason, Reason::ProbeFailed);
}

#[tokio::test]
async fn a_gateway_that_moves_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let net = dir.path().join("1/net");
    std::fs::create_dir_all(&net).unwrap();
    let table = |gateway: [u8; 4]| {
        let line = format!("eth0 00000000 {:08X} 0003 0 0 0 00000000 0 0 0\n", u32::from_ne_bytes(gateway));
        std::fs::write(net.join("route"), line).unwrap();
    };
    table([127, 0, 0, 1]);
    let around = Surroundings { host_proc: Some(dir.path().to_owned()), ..Surroundings::default() };
    let plan = Plan { requests: 1, timeout: Duration::from_secs(10), tcp_ports: vec![1] };
    let mut prober = Prober::open(&[Target::Auto], plan, Choice::Tcp, &around, &Trust::default()).unwrap();
    assert!(prober.round().await.reason.is_reached());
    assert_eq!(prober.target(), "auto=127.0.0.1");
    std::fs::write(net.join("route"), "").unwrap();
    assert_eq!(prober.round().await.reason, Reason::NoRoute);
    assert_eq!(prober.target(), "auto");
    table([127, 0, 0, 2]);
    assert!(prober.round().await.reason.is_reached());
    assert_eq!(prober.target(), "auto=127.0.0.2");
}

#[test]
fn loss_is_a_share() {
    let answers = [answer(Reason::GatewayReplied, Some(1)), answer(Reason::NoReply, None), answer(Reason::NoReply, None)];
    assert!((Round::of(&answers, Method::Icmp).loss() - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(Round::of(&[], Method::Tcp).loss(), 0.0);
}
