//! The trainer's parsers of other people's files, compiled without libtorch.
//!
//! The very files of `trainer/src/data`, by path: a copy would be fuzzed in the trainer's place.

#[path = "../../trainer/src/data"]
#[allow(dead_code, missing_docs, reason = "the trainer uses the rest")]
pub mod data {
    pub mod coco;
    pub mod data_yaml;
    mod error;
    mod files;
    mod names;
    mod object;
    pub mod yolo_txt;

    pub use error::{DataError, Problem};
    pub use object::{Object, Side};
}

/// Archives around pickles.
pub mod archive {
    use std::io::{Cursor, Write};
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    /// What `torch.save` would write around this pickle, with four storages of 64 bytes.
    pub fn with_pickle(pickle: &[u8]) -> Vec<u8> {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let files: [(&str, &[u8]); 6] = [
            ("data.pkl", pickle),
            ("byteorder", b"little"),
            ("data/0", &[0; 64]),
            ("data/1", &[1; 64]),
            ("data/2", &[2; 64]),
            ("data/3", &[3; 64]),
        ];
        for (name, content) in files {
            zip.start_file(format!("archive/{name}"), stored).expect("a zip in memory takes six small files");
            zip.write_all(content).expect("memory can be written to");
        }
        zip.finish().expect("a zip in memory can be finished").into_inner()
    }
}
