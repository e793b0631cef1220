//! Zips that lie.

use rstest::rstest;

use super::archive::{End, Member, member, pytorch, zip, zip_with};
use super::pickle::Pickle;
use super::refused;
use edgeloop_model::pt;

/// A readable archive with one tensor of four numbers, in its parts.
fn members() -> Vec<Member> {
    let pickle = Pickle::new().dict(|pickle| pickle.text("a").tensor("FloatStorage", "0", 4, 0, &[4], &[1])).stop();
    vec![member("a/data.pkl", &pickle), member("a/byteorder", b"little"), member("a/data/0", &[0; 16])]
}

/// What `change` makes of the storage.
fn with_storage(change: impl FnOnce(&mut Member)) -> Vec<u8> {
    let mut members = members();
    change(&mut members[2]);
    zip(&members)
}

#[test]
fn the_archive_is_readable_where_it_does_not_lie() {
    for bytes in [
        zip(&members()),
        with_storage(|member| member.wide = true),
        zip_with(&members(), End { wide: true, ..End::default() }),
        // a comment, in which something looks like the last record
        [&zip(&members())[..zip(&members()).len() - 2], &[30, 0], &[0; 4], &0x0605_4b50_u32.to_le_bytes()[..], &[7; 22]].concat(),
    ] {
        let weights = pt::read(&bytes, &pt::Limits::default()).unwrap();
        assert_eq!(weights.get("a").unwrap().as_f32().unwrap(), [0.0; 4]);
    }
}

#[rstest]
#[case::deflated(with_storage(|member| member.method = 8), "compressed")]
#[case::unknown_compression(with_storage(|member| member.method = 99), "compressed")]
#[case::encrypted(with_storage(|member| member.flags = 1), "encrypted")]
#[case::wrong_checksum(with_storage(|member| member.crc = Some(7)), "checksum")]
#[case::longer_than_the_file(with_storage(|member| member.len = Some(1 << 30)), "outside the file")]
#[case::longer_than_any_file(with_storage(|member| (member.len, member.wide) = (Some(u64::MAX), true)), "outside the file")]
#[case::reaches_into_the_directory(with_storage(|member| member.len = Some(17)), "reaches into the directory")]
#[case::placed_past_the_end(with_storage(|member| member.at = Some(1 << 20)), "damaged")]
#[case::placed_past_any_end(with_storage(|member| (member.at, member.wide) = (Some(u64::MAX - 10), true)), "damaged")]
#[case::another_name_in_the_entry(with_storage(|member| member.local_name = Some(b"a/data/1".to_vec())), "another name")]
#[case::absolute(with_storage(|member| member.name = b"/etc/passwd".to_vec()), "/etc/passwd")]
#[case::upwards(with_storage(|member| member.name = b"a/data/../../../x".to_vec()), "../../../x")]
#[case::upwards_the_other_way(with_storage(|member| member.name = b"a\\..\\x".to_vec()), "no PyTorch archive")]
#[case::of_a_drive(with_storage(|member| member.name = b"C:x".to_vec()), "no PyTorch archive")]
#[case::with_a_zero(with_storage(|member| member.name = b"a/data/0\0.png".to_vec()), "no PyTorch archive")]
#[case::without_a_name(with_storage(|member| member.name = Vec::new()), "no PyTorch archive")]
#[case::with_a_long_name(with_storage(|member| member.name = vec![b'a'; 60_000]), "no PyTorch archive")]
#[case::with_a_name_of_noise(with_storage(|member| member.name = vec![0xff; 8]), "UTF-8")]
#[case::second_of_its_name(with_storage(|member| member.name = b"a/data.pkl".to_vec()), "two files")]
fn an_entry_that_lies_is_refused(#[case] bytes: Vec<u8>, #[case] words: &str) {
    let found = refused(bytes);
    assert!(found.contains(words), "{found}");
}

#[rstest]
#[case::more_files_than_there_are(End { count: Some(4), ..End::default() }, "has room for")]
#[case::more_files_than_fit(End { count: Some(20_000), ..End::default() }, "has room for")]
#[case::more_files_than_are_read(End { count: Some(60_000), ..End::default() }, "has room for")]
#[case::more_files_than_memory(End { count: Some(1 << 60), wide: true, ..End::default() }, "has room for")]
#[case::a_directory_of_4_gib(End { size: Some(u32::MAX.into()), ..End::default() }, "damaged")]
#[case::a_directory_past_the_end(End { start: Some(1 << 30), ..End::default() }, "damaged")]
#[case::a_directory_past_any_end(End { start: Some(u64::MAX - 5), wide: true, ..End::default() }, "damaged")]
#[case::a_directory_in_the_data(End { start: Some(3), ..End::default() }, "damaged")]
fn a_directory_that_lies_is_refused(#[case] end: End, #[case] words: &str) {
    let found = refused(zip_with(&members(), end));
    assert!(found.contains(words), "{found}");
}

/// Fifield's bomb: many entries of a directory, all of them one large file.
#[test]
fn entries_that_overlap_are_refused() {
    let mut all = vec![member("a/data.pkl", b"}."), member("a/data/0", &vec![0; 1 << 20])];
    let at = 30 + 10 + 2;
    for key in 1..10_000 {
        let name = format!("a/data/{key}");
        // the header that it points to has the name of the first: give the lie away there, or in the overlap
        all.push(Member { at: Some(at), len: Some(1 << 20), crc: Some(0), ..member(&name, b"") });
    }
    refused(zip(&all));
    let mut quoted = members();
    let inner = zip(&[member("a/data/1", &[0; 16])]);
    let at = quoted.iter().map(|member| 30 + member.name.len() + member.bytes.len()).sum::<usize>() + 30 + "a/data/2".len();
    quoted.push(member("a/data/2", &inner));
    quoted.push(Member { at: Some(at as u64), len: Some(16), crc: Some(0), ..member("a/data/1", b"") });
    let found = refused(zip(&quoted));
    assert!(found.contains("overlap"), "{found}");
}

#[test]
fn other_archives_are_refused() {
    for (members, words) in [
        (vec![member("a.txt", b"text")], "without a data.pkl"),
        (vec![], "no zip"),
        (vec![member("data.pkl", b"}.")], "without a data.pkl"),
        (vec![member("a/b/data.pkl", b"}.")], "without a data.pkl"),
        (vec![member("a/data.pkl", b"}."), member("b/data.pkl", b"}.")], "more than one data.pkl"),
        (vec![member("a/data.pkl", b"}."), member("a/byteorder", b"big")], "big-endian"),
        (vec![member("a/data.pkl", b"}."), member("a/constants.pkl", b"}.")], "TorchScript"),
        (vec![member("a/data.pkl", b"}."), member("a/byteorder", &vec![b'l'; 1 << 20])], "at most"),
    ] {
        let found = refused(zip(&members));
        assert!(found.contains(words) || members.is_empty(), "{found}");
    }
    let many: Vec<Member> = (0..30_000).map(|key| member(&format!("a/data/{key}"), b"")).collect();
    assert!(refused(zip(&many)).contains("files in the archive"));
}

#[test]
fn an_archive_of_last_records_is_refused() {
    // each looks like the end of the archive and none reaches to it
    let fake = [&0x0605_4b50_u32.to_le_bytes()[..], &[0xff; 16], &[0, 0]].concat();
    let bytes = [&b"PK\x03\x04"[..], &fake.repeat(100_000), b"."].concat();
    assert!(refused(bytes).contains("damaged"));
}

#[test]
fn no_changed_byte_makes_an_archive_dangerous() {
    let bytes = pytorch(&members()[0].bytes, &[vec![0; 16]]);
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            // One tensor is no detector: refused either way, here only in bounded memory.
            refused(changed);
        }
    }
}
