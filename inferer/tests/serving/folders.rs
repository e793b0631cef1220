//! The kinds of folders that a store comes in: behind links, exchanged as a whole, copied slowly, mounted read-only, silent.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use edgeloop_store::Store;

use crate::program::{Program, read_only};
use crate::support::*;

/// So long between two looks that only notices can explain what is seen.
const NOTICES: [&str; 2] = ["--check-model-interval", "3600"];
/// No notices, as on a network file system; the timer has to do.
const TIMER: [&str; 4] = ["--model-notices", "false", "--check-model-interval", "0.1"];

fn serves(inferer: &Inferer, version: &str) {
    wait_for(version, || (inferer.version()? == version).then_some(()));
}

/// Points `link` elsewhere the way Kubernetes and deployment tools do: a new link, renamed over the old one.
fn point(link: &Path, to: &Path) {
    let next = link.with_extension("next");
    symlink(to, &next).unwrap();
    fs::rename(next, link).unwrap();
}

#[test]
fn a_folder_without_notices_is_looked_at_on_the_timer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    publish(&store, 0.5);
    let inferer = Inferer::ready(dir.path(), &TIMER);
    let second = publish(&store, 0.6).version;
    serves(&inferer, second.as_str());
    let back = store.rollback("test", "looks worse").unwrap();
    serves(&inferer, back.version().as_str());
}

#[test]
fn a_link_that_is_pointed_elsewhere_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let versions: Vec<_> = (0..3).map(|n| publish(&Store::create(at(&n.to_string())).unwrap(), 0.5 + n as f32 / 10.0)).collect();
    symlink(at("0"), at("now")).unwrap();
    symlink("now", at("models")).unwrap();
    for settings in [&NOTICES[..], &TIMER[..]] {
        point(&at("now"), &at("0"));
        let inferer = Inferer::ready(&at("models"), settings);
        for (n, metadata) in versions.iter().enumerate().skip(1) {
            point(&at("now"), &at(&n.to_string()));
            wait_for("the other folder's model", || {
                let (_, answer) = inferer.post("image/jpeg", &jpeg(&quarter(64, 64, 2)));
                let sign = (read_answer(&answer).0 * 10.0).round() / 10.0;
                (answer["model"] == metadata.version.as_str() && sign == 0.5 + n as f64 / 10.0).then_some(())
            });
        }
        assert_eq!(inferer.metric("edgeloop_model_quarantined", ""), 0.0);
    }
}

#[test]
fn a_folder_that_is_replaced_by_another_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (models, old, new) = (dir.path().join("models"), dir.path().join("old"), dir.path().join("new"));
    publish(&Store::create(&models).unwrap(), 0.5);
    let inferer = Inferer::ready(&models, &NOTICES);
    for round in 0..2 {
        let version = publish(&Store::create(&new).unwrap(), 0.6 + round as f32 / 10.0).version;
        fs::rename(&models, &old).unwrap();
        fs::rename(&new, &models).unwrap();
        fs::remove_dir_all(&old).unwrap();
        wait_for("the new folder's model", || {
            let (status, answer) = inferer.post("image/jpeg", &jpeg(&quarter(64, 64, 2)));
            assert_eq!(status, 200, "{answer}");
            let sign = (read_answer(&answer).0 * 10.0).round() / 10.0;
            (answer["model"] == version.as_str() && (sign - (0.6 + f64::from(round) / 10.0)).abs() < 1e-6).then_some(())
        });
    }
}

/// Somebody copies a store with `cp`: in any order, in pieces, with halves of files on show.
#[test]
fn a_slow_plain_copy_serves_once_it_is_whole() {
    for settings in [&NOTICES[..], &TIMER[..]] {
        let dir = tempfile::tempdir().unwrap();
        let (source, models) = (dir.path().join("source"), dir.path().join("models"));
        let first = publish(&Store::create(&models).unwrap(), 0.5);
        let from = Store::create(&source).unwrap();
        publish(&from, 0.6);
        // Of another second, and so of another name.
        let version = wait_for("another name", || {
            let metadata = publish(&from, 0.7);
            (metadata.version != first.version).then_some(metadata.version)
        });
        let inferer = Inferer::ready(&models, settings);
        let copy = |name: &str, pieces: usize, between: &mut dyn FnMut()| {
            let bytes = fs::read(source.join(name)).unwrap();
            let mut file = fs::File::create(models.join(name)).unwrap();
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                file.write_all(piece).unwrap();
                between();
            }
        };
        let last = || inferer.get(inferer.admin, "/readyz").1["details"]["last_reload"].clone();
        let told = |word: &str| {
            wait_for(word, || last()["reason"].as_str().is_some_and(|reason| reason.contains(word)).then_some(()));
            assert_eq!(inferer.post("image/jpeg", &jpeg(&quarter(64, 64, 1))).0, 200);
        };
        copy("latest_metadata.json", 2, &mut || ());
        told("missing");
        copy(&format!("model_{version}.check.safetensors"), 3, &mut || ());
        let mut pieces = 0;
        copy(&format!("model_{version}.onnx"), 4, &mut || {
            pieces += 1;
            if pieces == 2 {
                told("bytes");
            }
        });
        serves(&inferer, version.as_str());
    }
}

#[test]
fn a_mount_that_cannot_be_written_to_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    publish(&store, 0.5);
    let Some(command) = read_only(dir.path()) else {
        eprintln!("this system allows no mount namespaces: what the inferer writes is then seen in store_faults only");
        return;
    };
    let program = Program::start_with(command, dir.path(), &NOTICES);
    wait_for("a model", || program.version());
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", program.pid())).unwrap();
    let line = mounts.lines().find(|line| line.contains(dir.path().to_str().unwrap())).expect("the folder is a mount of its own");
    assert!(line.split(' ').nth(3).unwrap().split(',').any(|option| option == "ro"), "{line}");
    let second = publish(&store, 0.6).version;
    wait_for("the second version", || (program.version()? == second.as_str()).then_some(()));
}

#[test]
fn a_folder_that_ends_in_a_slash_or_is_relative_is_the_same_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("models")).unwrap();
    publish(&store, 0.5);
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop-inferer"));
    command.current_dir(dir.path());
    let program = Program::start_with(command, Path::new("./models/"), &NOTICES);
    wait_for("a model", || program.version());
    let second = publish(&store, 0.6).version;
    wait_for("the second version", || (program.version()? == second.as_str()).then_some(()));
}
