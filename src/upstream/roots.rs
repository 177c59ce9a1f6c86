//! Trusted roots: the system's and those of `upstream.ca_file`. An unusable certificate is skipped.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore, crypto};

use super::fault::ClientError;
use crate::files;

const DASHES: &str = "-----";
const DASHES_BEGIN: &str = "-----BEGIN ";
const DASHES_END: &str = "-----END ";

/// TLS as every connection uses it, and what of `ca_file` could not be used.
pub(super) struct Tls {
    pub(super) config: ClientConfig,
    /// In plain words, with file, position and reason.
    pub(super) skipped: Vec<String>,
}

impl Tls {
    /// Reads the roots; blocks. Where `is_plain` no connection needs any: a sandbox runs in a bare container, too.
    pub(super) fn new(ca_file: Option<&Path>, is_plain: bool) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        let mut skipped = Vec::new();
        if !is_plain || ca_file.is_some() {
            // What of them cannot be used is the system's to mend; what matters is whether there is one.
            let loaded = files::within(files::READ_WITHIN, rustls_native_certs::load_native_certs)
                .map_err(|source| ClientError::SystemRoots { from: place_of_system_roots(), source })?;
            roots.add_parsable_certificates(loaded.certs);
        }
        if let Some(path) = ca_file {
            let bytes = files::read_within(path, files::READ_WITHIN)
                .map_err(|source| ClientError::CaFileRead { path: path.to_owned(), source })?;
            let bundle = Bundle::read(&bytes);
            let shown = path.display();
            skipped.extend(bundle.unusable.iter().map(|found| format!("upstream.ca_file {shown}: {found}")));
            if bundle.usable.is_empty() {
                let found = bundle.unusable.into_iter().next().unwrap_or_default();
                return Err(if found.is_empty() {
                    ClientError::CaFileFormat { path: path.to_owned(), hint: hint(&bytes) }
                } else {
                    ClientError::CaFileUnusable { path: path.to_owned(), found }
                });
            }
            roots.roots.extend(bundle.usable.roots);
        }
        if roots.is_empty() && !is_plain {
            return Err(ClientError::NoRoots { from: place_of_system_roots() });
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| ClientError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config, skipped })
    }
}

/// `SSL_CERT_FILE=/path`, where the environment names the roots.
fn place_of_system_roots() -> String {
    let set = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some(format!("{name}={}", Path::new(&value).display()))
    });
    let set: Vec<String> = set.collect();
    if set.is_empty() { "the system's CA certificates".to_owned() } else { set.join(", ") }
}

/// The certificates of a PEM file.
struct Bundle {
    usable: RootCertStore,
    /// `certificate 2 (line 31): why`
    unusable: Vec<String>,
}

impl Bundle {
    fn read(bytes: &[u8]) -> Self {
        let mut bundle = Self { usable: RootCertStore::empty(), unusable: Vec::new() };
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
        let mut section: Option<(usize, String)> = None;
        let mut count = 0;
        let lines = text.lines().enumerate().filter(|(_, text)| !text.starts_with('#'));
        for (line, text) in lines.flat_map(|(at, text)| pieces(text).map(move |piece| (at + 1, piece))) {
            if let Some(label) = label(text, "BEGIN") {
                if let Some((begun, _)) = section.take() {
                    bundle.unusable.push(format!("certificate {count} (line {begun}) has no END line"));
                }
                if label.ends_with("CERTIFICATE") {
                    count += 1;
                    section = Some((line, String::new()));
                    if label == "TRUSTED CERTIFICATE" {
                        section = None;
                        let words = "is OpenSSL's TRUSTED CERTIFICATE: convert it with `openssl x509`";
                        bundle.unusable.push(format!("certificate {count} (line {line}) {words}"));
                    }
                }
            } else if label(text, "END").is_some() {
                if let Some((begun, body)) = section.take()
                    && let Err(why) = bundle.add(&body)
                {
                    bundle.unusable.push(format!("certificate {count} (line {begun}) {why}"));
                }
            } else if let Some((_, body)) = &mut section {
                // Who puts a file into a variable or YAML may have made its line breaks blanks.
                body.extend(text.split_whitespace());
                body.push('\n');
            }
        }
        if let Some((begun, _)) = section {
            bundle.unusable.push(format!("certificate {count} (line {begun}) has no END line"));
        }
        bundle
    }

    fn add(&mut self, body: &str) -> Result<(), String> {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n");
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "is not valid base64".to_owned())?;
        self.usable.add(der).map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
                "is not a certificate in DER, or a damaged one".to_owned()
            }
            error => format!("cannot be a root: {error}"),
        })
    }
}

/// A line, cut around each BEGIN and END in it: files that are joined without a line break between them share a line.
/// Each of them may begin with a byte order mark.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let begins = [DASHES_BEGIN, DASHES_END].into_iter().filter_map(|edge| rest.find(edge)).min();
        let length = match begins {
            _ if rest.is_empty() => return None,
            Some(0) => rest[DASHES.len()..].find(DASHES).map_or(rest.len(), |at| at + 2 * DASHES.len()),
            Some(at) => at,
            None => rest.len(),
        };
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(piece.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'))
    })
}

/// `X` of `-----BEGIN X-----`.
fn label<'a>(line: &'a str, edge: &str) -> Option<&'a str> {
    line.strip_prefix("-----")?.strip_prefix(edge)?.strip_prefix(' ')?.strip_suffix("-----")
}

/// What a file without a certificate in PEM probably is.
fn hint(bytes: &[u8]) -> &'static str {
    match bytes {
        // A sequence with a length of two bytes: X.690, 8.1.3.5 and 8.9.1.
        [0x30, 0x82, ..] => "; it looks like DER: convert it with `openssl x509 -inform der`",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "; it is UTF-16: save it as plain text",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str) -> String {
        rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.pem()
    }

    fn read(text: &str) -> (usize, Vec<String>) {
        let bundle = Bundle::read(text.as_bytes());
        (bundle.usable.len(), bundle.unusable)
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_named_and_the_others_count() {
        let (one, two) = (pem("one"), pem("two"));
        let lines = one.lines().count();
        let damaged = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n";
        let no_base64 = "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n";
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";

        let found = read(&format!("{one}{damaged}# note\n{no_base64}{two}{cut}"));

        let at = |more: usize| lines + more;
        let told = [
            format!("certificate 2 (line {}) is not a certificate in DER, or a damaged one", at(1)),
            format!("certificate 3 (line {}) is not valid base64", at(5)),
            format!("certificate 5 (line {}) has no END line", at(8) + two.lines().count()),
        ];
        assert_eq!(found, (2, told.to_vec()));
    }

    #[test]
    fn a_bom_other_line_ends_keys_and_texts_between_do_not_matter() {
        let pem = pem("one");
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let rows = [
            format!("\u{feff}{pem}"),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', "\r"),
            format!("subject=one\n{key}{pem}"),
            pem.lines().map(|line| format!("  {line} \n")).collect(),
            pem.replace('\n', " "),
        ];

        for text in rows {
            assert_eq!(read(&text), (1, Vec::new()), "{text}");
        }
    }

    #[test]
    fn files_that_were_joined_without_a_line_break_or_begin_with_a_bom_all_count() {
        let (one, two) = (pem("one"), pem("two"));
        let damaged = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n";
        let commented: String = two.lines().map(|line| format!("# {line}\n")).collect();

        let glued = read(&format!("{}{}{damaged}", one.trim_end(), two.trim_end()));
        let with_boms = read(&format!("\u{feff}{one}\u{feff}{two}"));
        let without_one = read(&format!("{one}{commented}"));

        let line = one.lines().count() + two.lines().count() - 1;
        let told = format!("certificate 3 (line {line}) is not a certificate in DER, or a damaged one");
        assert_eq!(glued, (2, vec![told]));
        assert_eq!((with_boms, without_one), ((2, Vec::new()), (1, Vec::new())));
    }

    #[test]
    fn a_file_without_any_is_told_with_what_it_may_be() {
        assert_eq!(read("no certificate"), (0, Vec::new()));
        assert!(hint(&[0x30, 0x82, 1, 2]).contains("DER"));
        assert_eq!(hint(b"no certificate"), "");
    }
}
