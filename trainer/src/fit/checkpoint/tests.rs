#![allow(clippy::unwrap_used)]
use tch::{Device, Kind};

use super::*;

fn tensors() -> Vec<(String, Tensor)> {
    let weight = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([2, 3, 2, 2]);
    let weight = edgeloop_torch::channels_last(&weight).unwrap();
    vec![("w".to_owned(), weight), ("n".to_owned(), Tensor::from(7i64))]
}

fn at(epoch: u32) -> Position {
    Position { epoch, batch: 2, seconds: [1.5, 0.25], ..Position::default() }
}

fn load_any(dir: &Path, run: &str) -> Option<Checkpoint> {
    load(dir, run, |_| Ok(()))
}

/// The epoch of what is found.
fn found(dir: &Path) -> Option<u32> {
    load_any(dir, "run").map(|found| found.position.epoch)
}

#[test]
fn what_was_saved_comes_back_whatever_its_layout() {
    let dir = tempfile::tempdir().unwrap();
    let best = Some(Best { epoch: 2, fitness: 0.1 + 0.2 });
    let position = Position { best, ..at(3) };
    save(dir.path(), "run", &position, &tensors()).unwrap();
    let found = load_any(dir.path(), "run").unwrap();
    assert_eq!(found.position, position);
    for (name, want) in tensors() {
        let got = want.zeros_like();
        found.restore(&name, &got).unwrap();
        assert!(got.equal(&want), "{name}");
    }
    assert!(found.restore("w", &Tensor::zeros([3], (Kind::Float, Device::Cpu))).is_err());
    assert!(found.restore("v", &Tensor::zeros([3], (Kind::Float, Device::Cpu))).is_err());
    // Other tools can look into it.
    let bytes = fs::read(dir.path().join(FILE)).unwrap();
    assert_eq!(safetensors::SafeTensors::deserialize(&bytes).unwrap().names().len(), 2);
    remove(dir.path()).unwrap();
    assert!(load_any(dir.path(), "run").is_none());
    remove(dir.path()).unwrap();
}

#[test]
fn a_run_with_other_images_or_settings_is_not_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "run", &at(1), &tensors()).unwrap();
    assert!(load_any(dir.path(), "other").is_none());
    assert_eq!(found(dir.path()), Some(1));
}

/// What a power cut, a bad disk or a person may leave in place of the last checkpoint.
fn damages(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let patched = |at: usize, length: usize| {
        let mut bytes = whole.to_vec();
        bytes[at..at + length].fill(0);
        bytes
    };
    let (len, header) = (whole.len(), 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize);
    let flipped = {
        let mut bytes = whole.to_vec();
        bytes[len - 5] ^= 1;
        bytes
    };
    vec![
        ("empty", Vec::new()),
        ("cut in the length", whole[..5].to_vec()),
        ("cut in the header", whole[..header / 2].to_vec()),
        ("cut in the data", whole[..len - 1].to_vec()),
        ("longer", [whole, b"x"].concat()),
        ("all zeros", vec![0; len]),
        ("zeros in the header", patched(header / 2, 16)),
        ("zeros in the data", patched(header, len - header)),
        ("one bit", flipped),
        ("foreign", b"%PDF-1.7 this is not what you are looking for".to_vec()),
        ("a header of 2^63 bytes", [&(1u64 << 63).to_le_bytes()[..], whole].concat()),
    ]
}

#[test]
fn a_damaged_one_gives_way_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "run", &at(1), &tensors()).unwrap();
    save(dir.path(), "run", &at(2), &tensors()).unwrap();
    let last = dir.path().join(FILE);
    let whole = fs::read(&last).unwrap();
    for (what, bytes) in damages(&whole) {
        fs::write(&last, bytes).unwrap();
        assert_eq!(found(dir.path()), Some(1), "{what}");
    }
    fs::remove_file(&last).unwrap();
    assert_eq!(found(dir.path()), Some(1));
    // A crash between the two renames.
    fs::write(dir.path().join(STAGED), &whole).unwrap();
    assert_eq!(found(dir.path()), Some(2));
    fs::write(dir.path().join(STAGED), &whole[..100]).unwrap();
    assert_eq!(found(dir.path()), Some(1));
    fs::create_dir(&last).unwrap();
    assert_eq!(found(dir.path()), Some(1));
}

#[test]
fn two_damaged_ones_are_as_good_as_none_and_the_next_save_works() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "run", &at(1), &tensors()).unwrap();
    let whole = fs::read(dir.path().join(FILE)).unwrap();
    for (what, bytes) in damages(&whole) {
        for name in [FILE, PREVIOUS, STAGED] {
            fs::write(dir.path().join(name), &bytes).unwrap();
        }
        assert_eq!(found(dir.path()), None, "{what}");
        save(dir.path(), "run", &at(7), &tensors()).unwrap();
        assert_eq!(found(dir.path()), Some(7), "{what}");
    }
}

#[test]
fn one_that_does_not_fit_gives_way_too() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "run", &at(1), &tensors()).unwrap();
    save(dir.path(), "run", &at(2), &tensors()[..1]).unwrap();
    let fits = |found: &Checkpoint| tensors().iter().try_for_each(|(name, tensor)| found.has(name, tensor).map(drop));
    assert_eq!(load(dir.path(), "run", fits).unwrap().position.epoch, 1);
}
