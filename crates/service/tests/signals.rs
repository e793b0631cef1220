//! Signals reach real processes: this test binary starts itself and signals the copy.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use edgeloop_service::shutdown::{Shutdown, flag};
use rustix::process::{Pid, Signal, kill_process};

const ROLE: &str = "EDGELOOP_SIGNAL_TEST_ROLE";

/// What the copies run; a test of its own that does nothing without the variable.
#[test]
fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("async") => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let shutdown = Shutdown::on_signals().unwrap();
                println!("\nready");
                shutdown.cancelled().await;
                println!("\nstopping");
                if std::env::var_os("LINGER").is_some() {
                    std::future::pending::<()>().await;
                }
            });
        }
        Ok("sync") => {
            let stop = flag();
            println!("\nready");
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            println!("\nstopping");
            if std::env::var_os("LINGER").is_some() {
                loop {
                    std::thread::park();
                }
            }
        }
        _ => {}
    }
}

struct Copy {
    process: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

fn start(role: &str, linger: bool) -> Copy {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["role", "--exact", "--nocapture"]).env(ROLE, role).stdout(Stdio::piped()).stderr(Stdio::null());
    if linger {
        command.env("LINGER", "1");
    }
    let mut process = command.spawn().unwrap();
    let lines = Box::new(BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok));
    let mut copy = Copy { process, lines };
    copy.wait_for("ready");
    copy
}

impl Copy {
    fn wait_for(&mut self, line: &str) {
        assert!(self.lines.any(|l| l == line), "the copy ended without saying `{line}`");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

#[test]
fn a_signal_stops_in_order() {
    for role in ["async", "sync"] {
        for signal in [Signal::TERM, Signal::INT] {
            let mut copy = start(role, false);
            copy.signal(signal);
            copy.wait_for("stopping");
            assert!(copy.process.wait().unwrap().success(), "{role} {signal:?}");
        }
    }
}

#[test]
fn a_second_signal_ends_at_once_with_the_signals_code() {
    for role in ["async", "sync"] {
        let mut copy = start(role, true);
        copy.signal(Signal::TERM);
        copy.wait_for("stopping");
        copy.signal(Signal::INT);
        assert_eq!(copy.process.wait().unwrap().code(), Some(130), "{role}");
    }
}

#[test]
fn a_trigger_is_seen_by_all_clones() {
    let shutdown = Shutdown::new();
    let clone = shutdown.clone();
    assert!(!clone.is_cancelled());
    shutdown.trigger();
    assert!(clone.is_cancelled() && clone.token().is_cancelled());
}
