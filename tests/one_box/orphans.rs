//! A part whose parent is gone: nobody reads its log, and it must still stop when it is told to.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use harness::{Http, binary, free_port, wait_for};

#[test]
fn daemons_whose_log_nobody_reads_stop_on_sigterm_all_the_same() {
    for name in ["edgeloop-agent", "edgeloop-inferer"] {
        let dir = tempfile::tempdir().unwrap();
        let (serve, admin) = (free_port(), free_port());
        let mut child = Command::new(binary(name))
            .env("MODEL_DIR", dir.path())
            .env("IMAGES_DIR", dir.path())
            .env("HEARTBEAT_IP", "127.0.0.1")
            .env("STATUS_FILE", dir.path().join("status.json"))
            .env("SERVE_ADDR", format!("127.0.0.1:{serve}"))
            .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let health = Http::new(admin);
        wait_for("it is up", || health.get("/livez"));
        // What a parent's death does to the pipes.
        drop((child.stdout.take(), child.stderr.take()));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
        let status = wait_for(&format!("{name} ends"), || child.try_wait().unwrap());
        assert!(status.success(), "{name}: {status}, signal {:?}", status.signal());
    }
}
