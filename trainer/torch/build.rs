//! Compiles the shim against the same libtorch as torch-sys.
use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=shim/shim.cpp");
    println!("cargo:rerun-if-changed=build.rs");
    let root = env::var_os("LIBTORCH").map_or_else(|| PathBuf::from("/usr"), PathBuf::from);
    let include = root.join("include");
    assert!(
        include.join("ATen/ATen.h").exists(),
        "no libtorch headers under {}: set LIBTORCH to a libtorch 2.13 folder (scripts/native fetches one)",
        include.display()
    );
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("shim/shim.cpp")
        .compile("edgeloop_torch_shim");
    let lib = root.join("lib");
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    // This crate's own tests; the trainer's binaries have their own line.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
