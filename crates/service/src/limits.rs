//! What the machine, the affinity mask and the cgroup leave us: thread pools of native libraries cannot see CPU quotas.
//!
//! Limits nest: each level from our own cgroup up to the root may set one, and the tightest counts. In a container without a
//! cgroup namespace `/proc/self/cgroup` names a host path that is not mounted inside; walking up from it still ends at the
//! mount's root, whose files are then the container's own.

use std::path::{Path, PathBuf};

/// CPUs that the cgroup's quota allows (2.5 = two and a half), or `None` without a quota.
#[must_use]
pub fn cpu_quota() -> Option<f64> {
    cpu_quota_at(Path::new("/"))
}

/// [`cpu_quota`], reading `proc/self/cgroup` and `sys/fs/cgroup` under `root`.
#[must_use]
pub fn cpu_quota_at(root: &Path) -> Option<f64> {
    let v2 = levels(root, "", "").into_iter().filter_map(|dir| {
        let text = std::fs::read_to_string(dir.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        ratio(quota.parse().ok()?, period.parse().ok()?)
    });
    let v1 = ["cpu,cpuacct", "cpu"].into_iter().flat_map(|mount| levels(root, mount, "cpu")).filter_map(|dir| {
        let number = |file: &str| std::fs::read_to_string(dir.join(file)).ok()?.trim().parse::<f64>().ok();
        ratio(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
    });
    v2.chain(v1).min_by(f64::total_cmp)
}

/// Bytes that the cgroup lets us use, or `None` without a limit.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    memory_limit_at(Path::new("/"))
}

/// [`memory_limit`], reading `proc/self/cgroup` and `sys/fs/cgroup` under `root`.
#[must_use]
pub fn memory_limit_at(root: &Path) -> Option<u64> {
    // v1 writes «no limit» as the largest page-aligned i64; nothing real comes near 2^60 bytes.
    const UNLIMITED: u64 = 1 << 60;
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let v2 = levels(root, "", "").into_iter().filter_map(|dir| number(dir.join("memory.max")));
    let v1 = levels(root, "memory", "memory").into_iter().filter_map(|dir| number(dir.join("memory.limit_in_bytes")));
    v2.chain(v1).filter(|bytes| *bytes < UNLIMITED).min()
}

/// CPUs worth a thread each: the affinity mask, and the quota rounded up, whichever is less. At least 1.
#[must_use]
pub fn available_cpus() -> usize {
    cpus(affinity(), cpu_quota())
}

fn cpus(affinity: usize, quota: Option<f64>) -> usize {
    let quota = quota.map_or(usize::MAX, |cpus| cpus.ceil() as usize);
    affinity.min(quota).max(1)
}

fn affinity() -> usize {
    rustix::thread::sched_getaffinity(None)
        .map(|set| set.count() as usize)
        .or_else(|_| std::thread::available_parallelism().map(Into::into))
        .unwrap_or(1)
}

fn ratio(quota: f64, period: f64) -> Option<f64> {
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Folders from our own cgroup up to the mount's root. v2 has no controller name and sits in `sys/fs/cgroup` itself.
fn levels(root: &Path, mount: &str, controller: &str) -> Vec<PathBuf> {
    let top = root.join("sys/fs/cgroup").join(mount);
    let text = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
    });
    let mut dir = top.join(own.unwrap_or_default());
    let mut levels = vec![dir.clone()];
    while dir != top && dir.pop() {
        levels.push(dir.clone());
    }
    levels
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[rstest]
    #[case::own_level(&[("proc/self/cgroup", "0::/pod/c\n"), ("sys/fs/cgroup/pod/c/cpu.max", "150000 100000\n")], Some(1.5))]
    #[case::parent_is_tighter(&[("proc/self/cgroup", "0::/pod/c\n"), ("sys/fs/cgroup/pod/c/cpu.max", "max 100000\n"), ("sys/fs/cgroup/pod/cpu.max", "50000 100000\n")], Some(0.5))]
    #[case::namespaced(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "200000 100000\n")], Some(2.0))]
    #[case::host_path_not_mounted(&[("proc/self/cgroup", "0::/kubepods/x/y\n"), ("sys/fs/cgroup/cpu.max", "300000 100000\n")], Some(3.0))]
    #[case::no_limit(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "max 100000\n")], None)]
    #[case::v1(&[("proc/self/cgroup", "4:cpu,cpuacct:/docker/a\n"), ("sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us", "250000\n"), ("sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us", "100000\n")], Some(2.5))]
    #[case::v1_no_limit(&[("proc/self/cgroup", "4:cpu:/\n"), ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"), ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")], None)]
    #[case::nothing_there(&[], None)]
    #[case::garbage(&[("proc/self/cgroup", "nonsense"), ("sys/fs/cgroup/cpu.max", "a b c")], None)]
    fn quota(#[case] files: &[(&str, &str)], #[case] expected: Option<f64>) {
        assert_eq!(cpu_quota_at(tree(files).path()), expected);
    }

    #[rstest]
    #[case::v2(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "536870912\n")], Some(536_870_912))]
    #[case::v2_no_limit(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")], None)]
    #[case::v1(&[("proc/self/cgroup", "9:memory:/a\n"), ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1048576\n")], Some(1_048_576))]
    #[case::v1_no_limit(&[("proc/self/cgroup", "9:memory:/\n"), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")], None)]
    fn memory(#[case] files: &[(&str, &str)], #[case] expected: Option<u64>) {
        assert_eq!(memory_limit_at(tree(files).path()), expected);
    }

    #[rstest]
    #[case::quota_rounds_up(4, Some(1.2), 2)]
    #[case::affinity_is_less(2, Some(8.0), 2)]
    #[case::never_none(1, Some(0.1), 1)]
    #[case::no_quota(6, None, 6)]
    fn threads(#[case] affinity: usize, #[case] quota: Option<f64>, #[case] expected: usize) {
        assert_eq!(cpus(affinity, quota), expected);
    }
}
