//! What this CPU is and which short floats it multiplies, read once from `/proc/cpuinfo`.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A CPU as the choice of an engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Model name, family, model and stepping in one line: what measurements are remembered by.
    pub name: String,
    /// Multiplies bfloat16.
    pub bf16: bool,
    /// Multiplies half precision.
    pub fp16: bool,
}

/// This machine's CPU.
pub fn cpu() -> &'static Cpu {
    static CPU: OnceLock<Cpu> = OnceLock::new();
    CPU.get_or_init(|| std::fs::read_to_string(Path::new("/proc/cpuinfo")).map_or_else(|_| parse(""), |text| parse(&text)))
}

/// The first processor of a `cpuinfo`. Cores of several kinds share the flags that Linux shows.
fn parse(text: &str) -> Cpu {
    let field = |names: &[&str]| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            names.contains(&key.trim()).then(|| value.trim().to_owned())
        })
    };
    let flags = field(&["flags", "Features"]).unwrap_or_default();
    let flags: HashSet<&str> = flags.split_whitespace().collect();
    let has = |names: &[&str]| names.iter().any(|name| flags.contains(name));
    let model = field(&["model name", "Processor", "Hardware"]).unwrap_or_else(|| "unknown CPU".into());
    let numbers: Vec<String> = [
        ("family", &["cpu family", "CPU implementer"][..]),
        ("model", &["model", "CPU part"][..]),
        ("stepping", &["stepping", "CPU revision"][..]),
    ]
    .into_iter()
    .filter_map(|(name, keys)| Some(format!("{name} {}", field(keys)?)))
    .collect();
    let name = if numbers.is_empty() { model } else { format!("{model}, {}", numbers.join(", ")) };
    // `bf16` and `fphp` are arm64's names. AVX10's successor flags imply avx512_fp16, which Linux then shows as well.
    Cpu { name, bf16: has(&["avx512_bf16", "amx_bf16", "bf16"]), fp16: has(&["avx512_fp16", "amx_fp16", "asimdhp"]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_and_arm_are_read_and_nothing_is_a_plain_cpu() {
        let x86 = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC 9655\nstepping\t: 1\nflags\t\t: fpu avx512f avx512_bf16 avx512_vnni\n";
        assert_eq!(parse(x86), Cpu { name: "AMD EPYC 9655, family 26, model 2, stepping 1".into(), bf16: true, fp16: false });
        let old = "model name\t: Intel(R) Atom(TM)\nflags\t\t: fpu sse4_2 avx512_bf16_not\n";
        assert_eq!(parse(old), Cpu { name: "Intel(R) Atom(TM)".into(), bf16: false, fp16: false });
        let arm = "processor\t: 0\nFeatures\t: fp asimd asimdhp bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\nCPU revision\t: 1\n";
        assert_eq!(parse(arm), Cpu { name: "unknown CPU, family 0x41, model 0xd0c, stepping 1".into(), bf16: true, fp16: true });
        assert_eq!(parse(""), Cpu { name: "unknown CPU".into(), bf16: false, fp16: false });
    }
}
