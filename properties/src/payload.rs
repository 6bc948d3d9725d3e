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

/// Bodies of tens of megabytes take longer to make and to sum up than many plans, so the last one is kept.
static UNSENT: Mutex<Option<(Arc<[u8]>, Digest)>> = Mutex::new(None);

/// A body that is sent to be refused, whatever its message: it carries token 0, which is no message's.
pub fn unsent(size: usize) -> Arc<[u8]> {
    let mut last = UNSENT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = last.take().filter(|(body, _)| body.len() == size);
    let (body, _) = last.insert(kept.unwrap_or_else(|| {
        let body = encode(Token(0), size);
        let digest = digest(&body);
        (body, digest)
    }));
    Arc::clone(body)
}

/// The digest of a body that is sent: known already if it is that of [`unsent`].
pub(crate) fn digest_sent(body: &Arc<[u8]>) -> Digest {
    if body.len() > DRAWN
        && let Some((kept, digest)) = &*UNSENT.lock().unwrap_or_else(PoisonError::into_inner)
        && Arc::ptr_eq(kept, body)
    {
        return *digest;
    }
    digest(body)
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
    fn what_is_kept_is_summed_up_right() {
        for size in [DRAWN + 1, DRAWN + 2] {
            let body = unsent(size);
            assert!(Arc::ptr_eq(&body, &unsent(size)));
            assert_eq!(digest_sent(&body), digest(&body));
        }
    }

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
