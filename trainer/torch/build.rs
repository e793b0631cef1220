//! Compiles the shim against the same libtorch as torch-sys.
use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=shim");
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
        // at::parallel_for is a template: without this it would run on one thread.
        .flag("-fopenmp")
        // Or loops with a choice in them do not become vectors. Nobody here reads the processor's error flags.
        .flag("-fno-trapping-math")
        .flag("-fno-math-errno")
        .file("shim/shim.cpp")
        .file("shim/norm_silu.cpp")
        .compile("edgeloop_torch_shim");
    let lib = root.join("lib");
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    // By its name the one that libtorch brings along: two would be two pools of threads.
    println!("cargo:rustc-link-lib=dylib=gomp");
    // This crate's own tests; the trainer's binaries have their own line.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
