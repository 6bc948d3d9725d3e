//! Opens directories of the file queue that are edited. Checksums have two bits here, so that an edit often passes. All
//! that runs is safe code, so no sanitizer is needed:
//! `cargo +nightly fuzz run -s none --fuzz-dir queues/fuzz directory -- -timeout=10 -len_control=0 -max_len=129`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| stanchion_queues::file::hostile::try_edited(data));
