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
    let flag = format!("-Wl,-rpath,{}", paths.join(":"));
    println!("cargo:rustc-link-arg-bins={flag}");
    println!("cargo:rustc-link-arg-tests={flag}");
    println!("cargo:rustc-link-arg={flag}");
}
