//! Children that are real processes: what reaches them, what comes back, what is left behind (nothing).
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use edgeloop::children::{Child, ChildError, Spec, Stream, find};

const PATIENCE: Duration = Duration::from_secs(20);

/// `/bin/sh -c script`, and the lines that it prints.
fn shell(script: &str) -> (Child, mpsc::Receiver<(Stream, String)>) {
    let (lines, receiver) = mpsc::channel();
    let spec = Spec::new("shell", "/bin/sh").arg("-c").arg(script).on_line(move |stream, line| {
        let _ = lines.send((stream, line.to_owned()));
    });
    (Child::spawn(spec).unwrap(), receiver)
}

fn next(lines: &mpsc::Receiver<(Stream, String)>) -> String {
    lines.recv_timeout(PATIENCE).expect("a line of output").1
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn is_alive(pid: i32) -> bool {
    // A zombie that init has yet to reap is dead to us.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn both_streams_arrive_whole_before_the_child_counts_as_ended() {
    let (child, lines) = shell("echo out; echo err >&2; printf unterminated");
    assert!(child.wait_for(PATIENCE).unwrap().success());
    let mut all: Vec<_> = lines.try_iter().collect();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(all, [(Stream::Stderr, "err".into()), (Stream::Stdout, "out".into()), (Stream::Stdout, "unterminated".into())]);
}

#[test]
fn a_line_without_end_comes_in_pieces() {
    let (child, lines) = shell("head -c 200000 /dev/zero | tr '\\0' x");
    assert!(child.wait_for(PATIENCE).unwrap().success());
    let pieces: Vec<_> = lines.try_iter().map(|(_, line)| line.len()).collect();
    assert_eq!((pieces.iter().sum::<usize>(), pieces.len()), (200_000, 4));
}

#[test]
fn terminate_lets_the_child_clean_up() {
    let (child, lines) = shell("trap 'echo saved; exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    assert_eq!(next(&lines), "ready");
    let stopped = child.terminate(PATIENCE).unwrap();
    assert_eq!((stopped.status.code(), stopped.killed), (Some(7), false));
    assert_eq!(next(&lines), "saved");
}

#[test]
fn terminate_kills_a_child_that_will_not_go_and_all_that_it_started() {
    let (child, lines) = shell("trap '' TERM; sleep 1000 & echo $!; wait; while :; do sleep 1000; done");
    let grandchild: i32 = next(&lines).parse().unwrap();
    let stopped = child.terminate(Duration::from_millis(50)).unwrap();
    assert_eq!((stopped.status.signal(), stopped.killed), (Some(9), true));
    eventually("the grandchild is gone", || !is_alive(grandchild));
}

#[test]
fn dropping_a_child_kills_it() {
    let (child, lines) = shell("echo $$; exec sleep 1000");
    let pid: i32 = next(&lines).parse().unwrap();
    drop(child);
    eventually("the child is gone", || !is_alive(pid));
}

#[test]
fn a_child_has_its_own_process_group_and_niceness() {
    let (lines, receiver) = mpsc::channel();
    let spec = Spec::new("nice", "/bin/sh").arg("-c").arg("nice; cut -d' ' -f1,5 /proc/$$/stat").nice(10);
    let child = Child::spawn(spec.on_line(move |stream, line| lines.send((stream, line.to_owned())).unwrap())).unwrap();
    let own: i32 = rustix::process::nice(0).unwrap();
    assert_eq!(next(&receiver), (own + 10).min(19).to_string());
    assert_eq!(next(&receiver), format!("{0} {0}", child.pid()));
}

#[test]
fn children_are_told_when_the_thread_that_spawned_them_is_gone() {
    let (pid, lines, child) = std::thread::spawn(|| {
        let (child, lines) = shell("trap 'echo orphaned; exit 0' TERM; echo $$; while :; do sleep 0.05; done");
        (next(&lines), lines, child)
    })
    .join()
    .unwrap();
    assert_eq!(next(&lines), "orphaned", "process {pid}");
    assert!(child.wait_for(PATIENCE).unwrap().success());
}

#[test]
fn signals_to_an_ended_child_go_nowhere() {
    let (child, _lines) = shell("exit 3");
    assert_eq!(child.wait_for(PATIENCE).unwrap().code(), Some(3));
    assert_eq!(child.terminate(PATIENCE).unwrap().status.code(), Some(3));
    child.kill().unwrap();
}

#[test]
fn the_end_is_told_once() {
    let (ended, receiver) = mpsc::channel();
    let spec = Spec::new("quick", "/bin/sh").arg("-c").arg("exit 5");
    let _child = Child::spawn_then(spec, move |status| ended.send(status.code()).unwrap()).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), Some(5));
    assert!(receiver.recv_timeout(PATIENCE).is_err(), "the callback is dropped after its one call");
}

#[test]
fn a_binary_that_is_nowhere_is_an_error_that_says_where_it_was_looked_for() {
    let error = find("edgeloop-nothing").unwrap_err();
    assert!(matches!(error, ChildError::NotFound { .. }));
    assert!(error.to_string().contains("edgeloop-nothing") && error.to_string().contains("PATH"));
}

#[test]
fn a_program_that_cannot_start_is_an_error_that_names_it() {
    let error = Child::spawn(Spec::new("ghost", "/nonexistent/ghost")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ghost"));
}
