//! Bodies that come compressed although nobody asked for it: gateways and proxies do that. Pure.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use serde::de::IgnoredAny;

/// Codings that are undone at most: one by the server, one by a proxy on the way.
const CODINGS_MAX: usize = 2;

/// Why a body cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It is not what its header says, or it is a coding that is not known here. In plain words.
    Undecodable(String),
    /// Decoded it is longer than `limit`.
    TooLong,
}

/// The body as the server meant it, at most `limit` bytes. One that is JSON as it came was not encoded, whatever its
/// header says: a coding that a proxy undid, or a word that is none.
pub(super) fn decoded(headers: &HeaderMap, body: Vec<u8>, limit: usize) -> Result<Vec<u8>, DecodeError> {
    // Some mark an empty body as compressed, too.
    if body.is_empty() {
        return Ok(body);
    }
    match undo_all(&codings(headers), &body, limit) {
        Ok(Some(decoded)) => Ok(decoded),
        Ok(None) => Ok(body),
        Err(DecodeError::Undecodable(_)) if serde_json::from_slice::<IgnoredAny>(&body).is_ok() => Ok(body),
        Err(error) => Err(error),
    }
}

/// `None` if there is nothing to undo.
fn undo_all(codings: &[String], body: &[u8], limit: usize) -> Result<Option<Vec<u8>>, DecodeError> {
    if codings.len() > CODINGS_MAX {
        return Err(DecodeError::Undecodable("it has too many content codings".to_owned()));
    }
    // The last one named was applied last.
    codings.iter().rev().try_fold(None, |decoded: Option<Vec<u8>>, coding| {
        undo(coding, decoded.as_deref().unwrap_or(body), limit).map(Some)
    })
}

fn codings(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty() && name != "identity").collect()
}

fn undo(coding: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    match coding {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(body), coding, limit),
        // RFC 9110, 8.4.1.2: deflate means zlib's format; some send the bare one.
        "deflate" => match read(ZlibDecoder::new(body), coding, limit) {
            Err(DecodeError::Undecodable(_)) => read(DeflateDecoder::new(body), coding, limit),
            result => result,
        },
        "br" | "zstd" | "compress" | "x-compress" => {
            Err(DecodeError::Undecodable(format!("unrequested Content-Encoding {coding}")))
        }
        // Not named: it may be anything that somebody put there.
        _ => Err(DecodeError::Undecodable("unrequested and unknown Content-Encoding".to_owned())),
    }
}

fn read(decoder: impl Read, coding: &str, limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoded = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    match decoder.take(most.saturating_add(1)).read_to_end(&mut decoded) {
        Ok(_) if decoded.len() > limit => Err(DecodeError::TooLong),
        Ok(_) => Ok(decoded),
        Err(_) => Err(DecodeError::Undecodable(format!("it is not valid {coding}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const BODY: &[u8] = br#"{"errors":[]}"#;
    const PAGE: &[u8] = b"<html>";

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_ENCODING, value.parse().unwrap())).collect()
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn bare(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_compressed_is_read_whatever_its_spelling() {
        let rows: [(&[&'static str], Vec<u8>); 9] = [
            (&[], BODY.to_vec()),
            (&["identity"], BODY.to_vec()),
            (&["gzip"], gzip(BODY)),
            (&["X-GZIP"], gzip(BODY)),
            (&["deflate"], zlib(BODY)),
            (&["deflate"], bare(BODY)),
            (&["deflate, gzip"], gzip(&zlib(BODY))),
            (&["deflate", "gzip"], gzip(&zlib(BODY))),
            (&["identity, gzip,"], gzip(BODY)),
        ];

        for (coding, body) in rows {
            assert_eq!(decoded(&headers(coding), body, 100).as_deref(), Ok(BODY), "{coding:?}");
        }
        assert_eq!(decoded(&headers(&["gzip"]), Vec::new(), 100), Ok(Vec::new()));
    }

    #[test]
    fn json_that_came_as_it_is_was_not_encoded_whatever_its_header_says() {
        for coding in ["none", "utf-8", "aws-chunked", "gzip", "deflate", "br", "gzip, gzip, gzip"] {
            assert_eq!(decoded(&headers(&[coding]), BODY.to_vec(), 100).as_deref(), Ok(BODY), "{coding}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_and_nothing_is_read_beyond_the_limit() {
        let bomb = gzip(&vec![b' '; 10 * 1024 * 1024]);
        let cut = gzip(BODY)[..20].to_vec();
        let undecodable = |words: &str| Err(DecodeError::Undecodable(words.to_owned()));

        assert_eq!(decoded(&headers(&["gzip"]), bomb, 100), Err(DecodeError::TooLong));
        assert_eq!(decoded(&headers(&["gzip"]), cut, 100), undecodable("it is not valid gzip"));
        assert_eq!(
            decoded(&headers(&["br"]), PAGE.to_vec(), 100),
            undecodable("unrequested Content-Encoding br")
        );
        assert_eq!(
            decoded(&headers(&["token-1"]), PAGE.to_vec(), 100),
            undecodable("unrequested and unknown Content-Encoding")
        );
        assert_eq!(
            decoded(&headers(&["gzip, gzip, gzip"]), PAGE.to_vec(), 100),
            undecodable("it has too many content codings")
        );
    }
}
