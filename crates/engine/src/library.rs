//! Where the engines' shared libraries are.
//!
//! A variable that is set wins and is never second-guessed: somebody who names a file wants that file or an error. Without
//! one: beside the executable as an installation has it (`../lib`), `.native/` of a checkout (two levels up from
//! `target/release/`, three from `target/release/deps/`), and last the system's own search path.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::EngineError;

/// A library that is opened at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// File name.
    pub file: &'static str,
    /// Variable that names the file.
    pub variable: &'static str,
    /// Folder under `.native/`.
    pub folder: &'static str,
}

/// ONNX Runtime.
pub const ONNX_RUNTIME: Library = Library { file: "libonnxruntime.so", variable: "ORT_DYLIB_PATH", folder: "onnxruntime" };

/// OpenVINO's C interface; its plugins and front ends lie in the same folder.
pub const OPENVINO: Library = Library { file: "libopenvino_c.so", variable: "OPENVINO_DYLIB_PATH", folder: "openvino" };

const SYSTEM: [&str; 6] =
    ["/usr/local/lib", "/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/opt/edgeloop/lib"];

/// Finds a library.
///
/// # Errors
/// [`EngineError::LibraryMissing`] with every place that was looked at.
pub fn find(library: Library) -> Result<PathBuf, EngineError> {
    let executable = env::current_exe().and_then(|p| p.canonicalize()).ok();
    let system: Vec<&Path> = SYSTEM.iter().map(Path::new).collect();
    find_in(library, env::var_os(library.variable), executable.as_deref(), &system)
}

/// [`find`] with the process's surroundings as arguments.
fn find_in(library: Library, variable: Option<OsString>, executable: Option<&Path>, system: &[&Path]) -> Result<PathBuf, EngineError> {
    let Library { file, variable: name, folder } = library;
    if let Some(value) = variable.filter(|v| !v.is_empty()) {
        let named = PathBuf::from(&value);
        return if named.is_file() { Ok(named) } else { Err(missing(library, vec![named])) };
    }
    let beside = executable.and_then(Path::parent).into_iter().flat_map(|dir| {
        let native = |up: &str| dir.join(up).join(".native").join(folder).join(file);
        [dir.join("../lib").join(file), dir.join("../lib").join(folder).join(file), native("../.."), native("../../..")]
    });
    let looked: Vec<PathBuf> = beside.chain(system.iter().map(|dir| dir.join(OsStr::new(file)))).collect();
    match looked.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(EngineError::LibraryMissing { library: file, variable: name, looked }),
    }
}

fn missing(library: Library, looked: Vec<PathBuf>) -> EngineError {
    EngineError::LibraryMissing { library: library.file, variable: library.variable, looked }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }

    #[test]
    fn a_variable_that_is_set_wins_and_is_not_second_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let installed = dir.path().join("lib/libonnxruntime.so");
        touch(&installed);
        let exe = dir.path().join("bin/edgeloop-inferer");
        touch(&exe);
        let named = dir.path().join("elsewhere.so");
        let missing = find_in(ONNX_RUNTIME, Some(named.clone().into()), Some(&exe), &[]).unwrap_err();
        assert!(missing.to_string().contains("elsewhere.so") && missing.to_string().contains("ORT_DYLIB_PATH"), "{missing}");
        touch(&named);
        assert_eq!(find_in(ONNX_RUNTIME, Some(named.clone().into()), Some(&exe), &[]).unwrap(), named);
    }

    #[rstest::rstest]
    #[case::installed("bin/edgeloop-inferer", "lib/libonnxruntime.so")]
    #[case::installed_in_folders("bin/edgeloop-inferer", "lib/onnxruntime/libonnxruntime.so")]
    #[case::checkout("target/release/edgeloop-inferer", ".native/onnxruntime/libonnxruntime.so")]
    #[case::test_binary("target/release/deps/engine-0123", ".native/onnxruntime/libonnxruntime.so")]
    fn an_unset_or_empty_variable_falls_back_to_the_executables_surroundings(#[case] exe: &str, #[case] library: &str) {
        let dir = tempfile::tempdir().unwrap();
        let (exe, library) = (dir.path().join(exe), dir.path().join(library));
        touch(&exe);
        touch(&library);
        for variable in [None, Some(OsString::new())] {
            let found = find_in(ONNX_RUNTIME, variable, Some(&exe), &[]).unwrap();
            assert_eq!(found.canonicalize().unwrap(), library.canonicalize().unwrap());
        }
    }

    #[test]
    fn a_missing_library_names_every_place_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let text = find_in(OPENVINO, None, Some(&dir.path().join("bin/x")), &[Path::new("/nowhere")]).unwrap_err().to_string();
        for part in ["libopenvino_c.so", "/nowhere/libopenvino_c.so", "OPENVINO_DYLIB_PATH", "scripts/native"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}
