//! Tells the linker where the trainer finds libtorch at run time. Not in workspace rustflags: a RUSTFLAGS variable would wipe it.
fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    // $ORIGIN is the folder of the binary: target/<profile>/, then target/<profile>/deps/ (tests), then an installed bin/.
    let mut paths = vec![
        "$ORIGIN/../../.native/libtorch/lib".to_owned(),
        "$ORIGIN/../../../.native/libtorch/lib".to_owned(),
        "$ORIGIN/../lib".to_owned(),
    ];
    // A target folder or a libtorch of the builder's own choosing: only this machine's binary needs to find it.
    if let Ok(libtorch) = std::env::var("LIBTORCH") {
        paths.push(format!("{libtorch}/lib"));
    }
    // rustc-link-arg covers this package's binaries, unit tests, integration tests and examples alike.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", paths.join(":"));
}
