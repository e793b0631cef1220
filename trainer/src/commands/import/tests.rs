#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use clap::Parser;
use edgeloop_model::Weights;
use edgeloop_service::exit::code_of;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    import: Import,
}

fn import(arguments: &[&Path]) -> anyhow::Result<ExitCode> {
    let line = [Path::new("import")].into_iter().chain(arguments.iter().copied());
    Line::try_parse_from(line.map(Path::as_os_str)).unwrap().import.run()
}

fn file(dir: &Path, scale: Scale, classes: usize) -> (PathBuf, Weights) {
    let weights = Weights::init(&Network::yolov8(scale, classes), 1);
    let path = dir.join("mine.pt");
    fs::write(&path, pt::write(&weights).unwrap()).unwrap();
    (path, weights)
}

#[test]
fn names_travel_with_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (path, weights) = file(dir.path(), Scale::N, 2);
    for name in ["own.pt", "own.safetensors"] {
        let out = dir.path().join(name);
        import(&[&path, Path::new("--classes=bolt,6' nut"), Path::new("--out"), &out]).unwrap();
        let brought = Brought::read(&out, None).unwrap();
        assert_eq!(brought.imported.weights, weights);
        assert_eq!(brought.names.unwrap(), ["bolt", "6' nut"]);
        // what is written is written again without being told the names
        let again = dir.path().join(format!("again-{name}"));
        import(&[&out, Path::new("--out"), &again]).unwrap();
        // Not byte by byte: the order of safetensors' metadata is a hash map's.
        let again = Brought::read(&again, None).unwrap();
        assert_eq!((again.imported.weights, again.names.unwrap()), (weights.clone(), vec!["bolt".to_owned(), "6' nut".to_owned()]));
    }
    import(&[&path]).unwrap();
    assert!(dir.path().join("mine.edgeloop.pt").is_file());
    assert!(!dir.path().join("mine.edgeloop.json").exists(), "there are no names to keep");
}

#[test]
fn what_is_found_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = file(dir.path(), Scale::S, 2);
    let report = |given| Report(&Brought::read(&path, given).unwrap()).to_string();
    let said = report(Some("bolt,nut"));
    for words in ["a plain state dict", "yolov8s", "11,136,374 values in 355 arrays", "355 of 355", "2: bolt, nut", "128 wide"] {
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
    assert!(report(None).contains("--classes"));
    let out = dir.path().join("it's.pt");
    assert!(next(&Brought::read(&path, None).unwrap(), &out).contains(r"it'\''s.pt' SCALE=s edgeloop-trainer"));
}

#[test]
fn nothing_is_written_where_it_should_not_be() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = file(dir.path(), Scale::N, 1);
    let before = fs::read(&path).unwrap();
    for (out, words) in [
        ("mine.pt", "overwritten"),
        ("latest.pt", "model folder"),
        ("model_20260101_000000.pt", "model folder"),
        ("x.onnx", "must end"),
        ("no/x.pt", "cannot write"),
    ] {
        let error = import(&[&path, Path::new("--out"), &dir.path().join(out)]).unwrap_err();
        assert!(error.to_string().contains(words), "{out}: {error}");
        assert_eq!(code_of(&error), BAD_INPUT);
    }
    let error = import(&[&path, Path::new("--scale=s")]).unwrap_err();
    assert!(error.to_string().contains("yolov8n"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no leftovers");
    fs::write(&path, b"\x89PNG").unwrap();
    assert_eq!(code_of(&import(&[&path]).unwrap_err()), BAD_INPUT);
}
