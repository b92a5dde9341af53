//! What was left open by whoever started us.

/// The first descriptor behind the three streams.
const BEHIND_STREAMS: i32 = 3;

/// Keeps the descriptors that this process was started with from every program that it starts: a folder that somebody left
/// open would lead a build out of its sandbox. What is opened later is kept from them anyway. Called once, at the start.
pub fn keep_inherited() {
    close_fds::set_fds_cloexec(BEHIND_STREAMS, &[]);
}
