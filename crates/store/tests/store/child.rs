//! This test binary as a process of its own: it does one thing to a store, and dies or stands still on the way.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use edgeloop_store::{Decision, Owner, Retention, Store, StoreError, fault};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::shelf::{draft, promote};

const TASK: &str = "STORE_TEST_TASK";
const ROOT: &str = "STORE_TEST_ROOT";

/// The child's exit codes. 101 (a panic) is none of them.
pub const DONE: i32 = 40;
pub const LOST: i32 = 41;

/// What every child publishes.
pub const MARK: u8 = 2;

/// The child's main: an ordinary test that returns at once where nobody asked for it.
#[test]
fn entry() {
    let Ok(task) = std::env::var(TASK) else { return };
    // An abort is meant here: no core files.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    let store = Store::open(std::env::var_os(ROOT).unwrap()).unwrap();
    let result = match task.as_str() {
        "promote" => publish(&store, promote()),
        "reject" => publish(&store, Decision::Reject { reason: "worse".into() }),
        "rollback" => store.rollback("child", "a test").map(drop),
        "prune" => store.prune(&Retention { keep_versions: 1, keep_candidates: 0, keep_bytes: None }).map(drop),
        task => match task.strip_prefix("force ") {
            Some(version) => store.promote(&version.parse().unwrap(), "child", "a test", true).map(drop),
            None => panic!("no task {task}"),
        },
    };
    std::process::exit(match result {
        Ok(()) => DONE,
        Err(StoreError::LockLost { .. }) => LOST,
        Err(error) => panic!("{task}: {error}"),
    });
}

fn publish(store: &Store, decision: Decision) -> Result<(), StoreError> {
    let lock = store.lock_training(&Owner::current("child"))?;
    store.publish(&lock, draft(MARK), decision).map(drop)
}

fn command(root: &Path, task: &str, point: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child::entry", "--exact", "--nocapture"]).env(TASK, task).env(ROOT, root).env(fault::VARIABLE, point);
    command.stdout(std::process::Stdio::null());
    command
}

/// Runs `task` until it dies at `point` or ends.
pub fn run(root: &Path, task: &str, point: &str) -> ExitStatus {
    command(root, task, point).status().unwrap()
}

pub fn spawn(root: &Path, task: &str, point: &str) -> Child {
    command(root, task, point).spawn().unwrap()
}
