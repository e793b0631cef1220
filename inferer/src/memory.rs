//! The C allocator's settings: libraries load and free models of tens of megabytes while requests come and go.

/// Larger blocks are maps of their own and go back to the kernel when they are freed. glibc by itself raises this bound to the largest
/// block that was ever freed: then weights lie between what requests leave, and a swap's memory stays (after twelve swaps 240 to 410 MB,
/// with these settings 125 to 240).
const OWN_MAP: i32 = 4 << 20;
/// So much free memory at the end of a heap is kept: requests take and free a few megabytes all the time.
const KEPT: i32 = 32 << 20;
/// Most heaps that threads share. glibc makes eight a core, and each keeps what its threads have freed.
const MOST_HEAPS: usize = 8;

/// Makes freed memory go back. To be called before there is a second thread.
pub fn give_back_early(cores: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_ARENA_MAX, (cores / 2).clamp(2, MOST_HEAPS) as i32);
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = (cores, OWN_MAP, KEPT, MOST_HEAPS);
}

/// Gives back what lies free between blocks that are in use, tens of megabytes a swap.
pub fn give_back_now() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
