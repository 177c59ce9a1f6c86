//! How the process keeps its memory: what was freed goes back to the system.
//!
//! glibc raises the size from which a block gets pages of its own each time such a block is freed, up to
//! 32 MiB. After that, buffers of a few hundred kB lie between small objects and nothing returns. With the
//! size fixed at its own default the daemon under full load takes 69 MB instead of 177 MB, at the same
//! speed (`benches/queue.rs`, part `busy`).

/// Fixes the allocator's thresholds. Call it before threads start; other C libraries need nothing.
pub fn keep_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    set(&[
        (libc::M_MMAP_THRESHOLD, 128 * 1024),
        (libc::M_TRIM_THRESHOLD, 128 * 1024),
        (libc::M_ARENA_MAX, 2),
    ]);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "glibc takes these from nowhere else once the process runs")]
fn set(options: &[(libc::c_int, libc::c_int)]) {
    for (option, value) in options {
        // Refused only for values out of range: it would cost memory, nothing else.
        unsafe { libc::mallopt(*option, *value) };
    }
}
