//! The Terraform root of an environment, with its variables, where any machine finds it: encrypted,
//! beside the state if that is in S3, else in a Secret. `destroy` needs it when the sources are gone.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_sdk_s3::primitives::ByteStream;
use envctl_model::record::{ArchivePlace, Record};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};

use super::guard::{Bucket, State, client};
use crate::aws::Session;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::marks::{self, SYSTEM_NAMESPACE};

const KEY_BYTES: usize = 32;
const KEY: &str = "key";
const ARCHIVE: &str = "archive";
/// A Secret holds 1 MiB, its key and names included.
const SECRET_MAX: usize = 900 << 10;

fn unreadable(message: impl Into<String>) -> ClusterError {
    ClusterError::Unreadable {
        doing: "the archive of the Terraform root".to_owned(),
        message: message.into(),
    }
}

/// Packs directories and files below `base`, each with its path there.
///
/// # Errors
/// When a file cannot be read.
pub fn pack(base: &Path, members: &[&str]) -> std::io::Result<Vec<u8>> {
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut archive = tar::Builder::new(packed);
    archive.follow_symlinks(false);
    for member in members {
        let path = base.join(member);
        if path.is_dir() {
            archive.append_dir_all(member, &path)?;
        } else if path.exists() {
            archive.append_path_with_name(&path, member)?;
        }
    }
    archive.into_inner()?.finish()
}

/// Unpacks into `base`.
///
/// # Errors
/// When a file cannot be written, or the archive is none.
pub fn unpack(packed: &[u8], base: &Path) -> std::io::Result<()> {
    envctl_programs::private::make_directory(base)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    archive.unpack(base)
}

/// Encrypts; the environment's identity is authenticated with it, so that one archive cannot be passed
/// off for another's.
fn seal(key: &[u8; KEY_BYTES], identity: &str, plain: &[u8]) -> Result<Vec<u8>, ClusterError> {
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|e| unreadable(e.to_string()))?;
    let mut sealed = plain.to_vec();
    let nonce = cipher
        .seal_in_place_append_tag(Aad::from(identity.as_bytes()), &mut sealed)
        .map_err(|e| unreadable(e.to_string()))?;
    let mut out = nonce.as_ref().to_vec();
    out.extend(sealed);
    Ok(out)
}

fn open(key: &[u8; KEY_BYTES], identity: &str, sealed: &[u8]) -> Result<Vec<u8>, ClusterError> {
    let broken = || unreadable("it was changed, or encrypted with another key");
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
    let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| broken())?;
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| broken())?;
    let mut body = body.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain =
        cipher.open_in_place(nonce, Aad::from(identity.as_bytes()), &mut body).map_err(|_| broken())?;
    Ok(plain.to_vec())
}

fn secrets(client: kube::Client) -> Api<Secret> {
    Api::namespaced(client, SYSTEM_NAMESPACE)
}

/// Where the root of an environment is kept whose state is there.
#[must_use]
pub fn place(record: &Record, state: &State) -> ArchivePlace {
    match state {
        State::S3(bucket) => ArchivePlace::S3 {
            bucket: bucket.bucket.clone(),
            key: format!("{}/{}/{}.envctl", bucket.prefix, record.name, bucket.key),
            region: bucket.region.clone(),
            path_style: bucket.path_style,
        },
        State::Local | State::Trusted => ArchivePlace::Secret,
    }
}

/// Keeps a packed root at a [`place`]. The key lies in a Secret of the environment's name.
///
/// # Errors
/// When S3 or the cluster refuses, or a Secret would be too small.
pub async fn keep(
    cluster: &VerifiedCluster,
    record: &Record,
    place: &ArchivePlace,
    packed: &[u8],
) -> Result<(), ClusterError> {
    let api = secrets(cluster.client());
    let name = record.name.as_str();
    let former = api.get_opt(name).await.map_err(cluster.failed("to show a key"))?;
    let key = match former.as_ref().and_then(|secret| key_of(secret, &record.identity)) {
        Some(key) => key,
        None => {
            let mut key = [0; KEY_BYTES];
            aws_lc_rs::rand::fill(&mut key).map_err(|e| unreadable(e.to_string()))?;
            key
        }
    };
    let sealed = seal(&key, &record.identity, packed)?;
    let mut data = vec![(KEY.to_owned(), ByteString(key.to_vec()))];
    if *place == ArchivePlace::Secret {
        if sealed.len() > SECRET_MAX {
            return Err(ClusterError::Refused {
                message: format!(
                    "the Terraform root takes {} KiB, and a Secret of the cluster holds {} KiB",
                    sealed.len() >> 10,
                    SECRET_MAX >> 10
                ),
                hint: "keep the state in S3: then the root is kept beside it".to_owned(),
            });
        }
        data.push((ARCHIVE.to_owned(), ByteString(sealed.clone())));
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(marks::labels(record)),
            annotations: Some(marks::annotations(record)),
            resource_version: former.as_ref().and_then(|secret| secret.metadata.resource_version.clone()),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().collect()),
        ..Secret::default()
    };
    let params = PostParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    // The key first: an archive without one is lost.
    let kept = match former {
        None => api.create(&params, &secret).await,
        Some(_) => api.replace(name, &params, &secret).await,
    };
    kept.map_err(cluster.failed("to keep a key"))?;
    if let ArchivePlace::S3 { bucket, key, .. } = place {
        let put = client(cluster.session(), &bucket_of(place)).put_object().bucket(bucket).key(key);
        let put = put.body(ByteStream::from(sealed)).send().await;
        put.map_err(ClusterError::from_aws("to keep the Terraform root beside its state"))?;
    }
    Ok(())
}

fn key_of(secret: &Secret, identity: &str) -> Option<[u8; KEY_BYTES]> {
    let theirs = secret.metadata.annotations.as_ref()?.get(marks::IDENTITY)?;
    let key = &secret.data.as_ref()?.get(KEY)?.0;
    (theirs == identity).then(|| key.as_slice().try_into().ok())?
}

/// The packed root of an environment.
///
/// # Errors
/// When it is not where the record says, or was changed.
pub async fn fetch(
    cluster: &VerifiedCluster,
    record: &Record,
    place: &ArchivePlace,
) -> Result<Vec<u8>, ClusterError> {
    let api = secrets(cluster.client());
    let secret = api.get_opt(record.name.as_str()).await.map_err(cluster.failed("to show a key"))?;
    let secret = secret.ok_or_else(|| unreadable("its key is gone from the cluster"))?;
    let key =
        key_of(&secret, &record.identity).ok_or_else(|| unreadable("its key is not this environment's"))?;
    let sealed = match place {
        ArchivePlace::Secret => {
            let data = secret.data.and_then(|mut data| data.remove(ARCHIVE));
            data.ok_or_else(|| unreadable("the Secret does not have it"))?.0
        }
        ArchivePlace::S3 { key, .. } => {
            let bucket = bucket_of(place);
            let get =
                client(cluster.session(), &bucket).get_object().bucket(&bucket.bucket).key(key).send().await;
            let got = get.map_err(ClusterError::from_aws("to fetch the Terraform root"))?;
            let body = got.body.collect().await.map_err(|e| unreadable(e.to_string()))?;
            body.to_vec()
        }
    };
    open(&key, &record.identity, &sealed)
}

fn bucket_of(place: &ArchivePlace) -> Bucket {
    match place {
        ArchivePlace::S3 { bucket, key, region, path_style } => Bucket {
            bucket: bucket.clone(),
            key: key.clone(),
            prefix: String::new(),
            region: region.clone(),
            path_style: *path_style,
        },
        ArchivePlace::Secret => Bucket {
            bucket: String::new(),
            key: String::new(),
            prefix: String::new(),
            region: None,
            path_style: false,
        },
    }
}

/// Removes the archive and its key.
///
/// # Errors
/// When S3 or the cluster refuses. What is not there is no error.
pub async fn remove(
    cluster: &VerifiedCluster,
    record: &Record,
    place: Option<&ArchivePlace>,
) -> Result<(), ClusterError> {
    if let Some(place @ ArchivePlace::S3 { key, .. }) = place {
        delete(cluster.session(), &bucket_of(place), key).await?;
    }
    let api = secrets(cluster.client());
    let name = record.name.as_str();
    let Some(secret) = api.get_opt(name).await.map_err(cluster.failed("to show a key"))? else {
        return Ok(());
    };
    if key_of(&secret, &record.identity).is_none() {
        return Ok(());
    }
    match api.delete(name, &DeleteParams::default()).await.map_err(cluster.failed("to remove a key")) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn delete(session: &Session, bucket: &Bucket, key: &str) -> Result<(), ClusterError> {
    let deleted = client(session, bucket).delete_object().bucket(&bucket.bucket).key(key).send().await;
    deleted.map_err(ClusterError::from_aws("to remove the archive of the Terraform root"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_opened_only_by_its_key_and_for_its_environment() {
        let (key, other) = ([7; KEY_BYTES], [8; KEY_BYTES]);
        let sealed = seal(&key, "one", b"secret root").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(open(&key, "one", &sealed).unwrap(), b"secret root");
        assert!(open(&other, "one", &sealed).is_err());
        assert!(open(&key, "two", &sealed).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(open(&key, "one", &changed).is_err());
        assert!(open(&key, "one", &sealed[..5]).is_err());
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let from = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(from.path().join("root/modules/a")).unwrap();
        std::fs::write(from.path().join("root/modules/a/main.tf"), "# a").unwrap();
        std::fs::write(from.path().join("vars.json"), "{}").unwrap();
        let packed = pack(from.path(), &["root", "vars.json", "missing.json"]).unwrap();
        let to = tempfile::tempdir().unwrap();
        unpack(&packed, &to.path().join("terraform")).unwrap();
        assert_eq!(
            std::fs::read_to_string(to.path().join("terraform/root/modules/a/main.tf")).unwrap(),
            "# a"
        );
    }
}
