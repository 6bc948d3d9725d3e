//! CRC-32C of what lies on the disk.

/// The checksum of some bytes.
pub(super) fn of(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// The checksum of what `before` is that of, with `bytes` behind it. For a fuzzer two bits of it, so that what it
/// changes is now and then taken for what was written.
pub(super) fn append(before: u32, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(before, bytes);
    if cfg!(fuzzing) { crc & 3 } else { crc }
}
