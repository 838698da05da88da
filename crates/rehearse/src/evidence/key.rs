//! The keys of signers: Ed25519 (RFC 8032).

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::digest::Digest;

/// Length of a public key, in bytes.
const PUBLIC_KEY_BYTES: usize = 32;

/// A private key. It is never printed.
pub struct SigningKey(Ed25519KeyPair);

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

/// A key that cannot be made, kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Making a key would overwrite one.
    #[error("{path} exists already\n  name another file, or remove it: what it signed stays valid")]
    Exists {
        /// The file.
        path: String,
    },
    /// Others than its owner can read it.
    #[error("others than you can read the private key {path}\n  chmod 600 {path}")]
    Open {
        /// The file.
        path: String,
    },
    /// It holds no such key.
    #[error(
        "{path} holds no Ed25519 private key in PEM (PKCS #8)\n  envctl evidence keygen {path} makes one"
    )]
    Unreadable {
        /// The file.
        path: String,
    },
    /// No random bytes, or memory is short.
    #[error("the key cannot be made: the cryptographic library refuses")]
    Refused,
}

impl SigningKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| KeyError::Refused)
    }

    /// Keeps it in a new file, as PEM of PKCS #8 (RFC 8410), which OpenSSL reads too. Only its owner may read it.
    ///
    /// # Errors
    /// When there is such a file already, or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let shown = || path.display().to_string();
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| KeyError::Refused)?;
        // 48 bytes are one line of PEM: nothing has to be folded.
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64.encode(der.as_ref())
        );
        let made = File::options().write(true).create_new(true).mode(0o600).open(path);
        let write = |mut file: File| file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
        made.and_then(write).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: shown() },
            _ => KeyError::Io { path: shown(), error },
        })
    }

    /// Reads one that [`Self::write`] or OpenSSL has written.
    ///
    /// # Errors
    /// When it cannot be read, others can read it too, or it is no such key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let shown = || path.display().to_string();
        let io = |error| KeyError::Io { path: shown(), error };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(KeyError::Open { path: shown() });
        }
        let text = io::read_to_string(file).map_err(|_| KeyError::Unreadable { path: shown() })?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| KeyError::Unreadable { path: shown() })?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der());
        pair.map(Self).map_err(|_| KeyError::Unreadable { path: shown() })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// A key for [`super::Fingerprints`] that follows from this one: who can sign can compare, and nobody else can guess
    /// what was fingerprinted.
    ///
    /// # Errors
    /// When the cryptographic library does not give the key's bytes.
    pub fn fingerprints(&self) -> Result<super::Fingerprints, KeyError> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| KeyError::Refused)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, der.as_ref());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hmac::sign(&key, b"envctl fingerprints v1").as_ref());
        Ok(super::Fingerprints::new(&bytes))
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.try_sign(message).map(|signature| signature.as_ref().to_vec()).map_err(|_| KeyError::Refused)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public().id()).finish()
    }
}

impl PublicKey {
    /// Reads one in base64, 32 bytes as in RFC 8032.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        BASE64.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// In base64.
    #[must_use]
    pub fn base64(&self) -> String {
        BASE64.encode(self.0)
    }

    /// The id that an envelope names it by: the digest of its bytes.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::of(&self.0)
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = SigningKey::generate().unwrap();
        key.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SigningKey::read(&path).unwrap().public(), key.public());
        assert!(matches!(key.write(&path), Err(KeyError::Exists { .. })), "it was overwritten");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::read(&path), Err(KeyError::Open { .. })));
    }

    #[test]
    fn a_key_of_another_kind_of_text_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for text in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(SigningKey::read(&path), Err(KeyError::Unreadable { .. })), "{text}");
        }
    }

    #[test]
    fn a_private_key_is_not_shown_by_debug() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public().id()));
    }

    #[test]
    fn the_test_vector_of_rfc_8032_verifies() {
        // Section 7.1, TEST 1: an empty message.
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let key = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = hex(concat!(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b",
            "d25bf5f0595bbe24655141438e7a100b"
        ));
        let key = PublicKey(key.try_into().unwrap());
        assert!(key.verifies(b"", &signature));
        assert!(!key.verifies(b"x", &signature));
    }
}
