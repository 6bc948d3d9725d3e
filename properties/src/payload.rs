//! Bodies that say who they are: a token, filler drawn from it, and a checksum over both.

use std::sync::{Arc, Mutex, PoisonError};

use crate::history::{Digest, Token};

const HEADER: usize = 8;
const TRAILER: usize = 4;
/// The smallest body, in bytes.
pub const SMALLEST: usize = HEADER + TRAILER;
/// So many bytes are drawn one by one. Larger bodies repeat them: they are sent to be refused, and should not take long to make.
const DRAWN: usize = 1 << 20;

/// A body of `size` bytes (at least [`SMALLEST`]) that carries `token`.
pub fn encode(token: Token, size: usize) -> Arc<[u8]> {
    let size = size.max(SMALLEST);
    let mut body = Vec::with_capacity(size);
    body.extend_from_slice(&token.0.to_le_bytes());
    let mut filler = token.0 ^ 0x9e37_79b9_7f4a_7c15;
    let whole = size - TRAILER;
    while body.len() < whole.min(DRAWN) {
        // A step of xorshift64 (Marsaglia 2003): bytes that do not compress and do not repeat.
        filler ^= filler << 13;
        filler ^= filler >> 7;
        filler ^= filler << 17;
        body.push(filler as u8);
    }
    while body.len() < whole {
        body.extend_from_within(..body.len().min(whole - body.len()));
    }
    let checksum = crc32c::crc32c(&body);
    body.extend_from_slice(&checksum.to_le_bytes());
    body.into()
}

/// A body that is sent to be refused, whatever its message: it carries token 0, which is no message's. Those of tens
/// of megabytes take longer to make than thousands of plans, so the last one is kept.
pub fn unsent(size: usize) -> Arc<[u8]> {
    static LAST: Mutex<Option<Arc<[u8]>>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = last.take().filter(|body| body.len() == size);
    Arc::clone(last.insert(kept.unwrap_or_else(|| encode(Token(0), size))))
}

/// The token of a body made by [`encode`]; `None` if these are not the bytes of one.
pub fn decode(body: &[u8]) -> Option<Token> {
    let (rest, checksum) = body.split_last_chunk::<TRAILER>()?;
    let token = rest.first_chunk::<HEADER>()?;
    (crc32c::crc32c(rest) == u32::from_le_bytes(*checksum)).then(|| Token(u64::from_le_bytes(*token)))
}

/// A checksum of bytes with their length.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(((bytes.len() as u64) << 32) | u64::from(crc32c::crc32c(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_carries_its_token_and_nothing_else_does() {
        for size in [0, SMALLEST, 13, 64, 1000, 3 * DRAWN + 1] {
            let body = encode(Token(7), size);
            assert_eq!(body.len(), size.max(SMALLEST));
            assert_eq!(decode(&body), Some(Token(7)));
            let mut torn = body.to_vec();
            *torn.last_mut().expect("not empty") ^= 1;
            assert_eq!(decode(&torn), None);
            assert_eq!(decode(&body[..body.len() - 1]), None);
        }
        assert_eq!(decode(b""), None);
    }
}
