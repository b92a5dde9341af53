//! Making keys, and changing them without a moment in which a good token is refused.
//!
//! A folder of keys holds `signing.pem` (private, 0600) and `public.json` (the set that the services believe). To rotate:
//!
//! 1. [`publish_next_key`] makes `next.pem` and adds its public half to `public.json`. Nothing is signed with it yet.
//! 2. Where services have copies of `public.json`, they are brought up to date now. They reload it by themselves.
//! 3. [`rotate_keys`] puts the new key in place. `public.json` keeps the old one as well, so that what it signed stays
//!    valid; the one before that is dropped. The controller takes up the new key by itself.
//!
//! On one machine step 3 alone does it all: it publishes first. A second rotation drops the first key: what it signed is
//! refused from then on, which is how a key that leaked is got rid of (rotate twice). Each step can be repeated after a
//! crash.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use jsonwebtoken::jwk::{Jwk, JwkSet};

use super::keys::{KeyError, KeySet, SigningKey};
use crate::secret::write_secret;

/// The private key's file in a folder of keys.
pub const SIGNING_FILE: &str = "signing.pem";

/// The public keys' file in a folder of keys.
pub const PUBLIC_FILE: &str = "public.json";

/// The private key that will be the next one.
const NEXT_FILE: &str = "next.pem";

/// Makes a first pair of keys in the folder `dir`, which is made too, and tells the new key's name. It never replaces
/// anything.
///
/// # Errors
/// When there are keys already, or the files cannot be written.
pub fn init_keys(dir: &Path) -> Result<String, KeyError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| KeyError::Unwritable { path: dir.to_owned(), source })?;
    let (signing, public) = (dir.join(SIGNING_FILE), dir.join(PUBLIC_FILE));
    if public.symlink_metadata().is_ok() {
        return Err(KeyError::Exists { path: public });
    }
    // A private key whose public half was never written is what a crash here leaves behind; it was never used.
    match make_key(&signing) {
        Ok(()) | Err(KeyError::Exists { .. }) => {}
        Err(error) => return Err(error),
    }
    let key = SigningKey::read(&signing)?;
    publish(&public, vec![key.public])?;
    Ok(key.kid)
}

/// Makes the next key and publishes its public half, and tells its name. Repeated, it changes nothing.
///
/// # Errors
/// When there are no keys yet, or the files cannot be read or written.
pub fn publish_next_key(dir: &Path) -> Result<String, KeyError> {
    let current = SigningKey::read(&dir.join(SIGNING_FILE))?;
    let public = dir.join(PUBLIC_FILE);
    let published = KeySet::read(&public)?;
    let path = dir.join(NEXT_FILE);
    if path.symlink_metadata().is_err() {
        make_key(&path)?;
    }
    let next = SigningKey::read(&path)?;
    if !published.key_ids().any(|kid| kid == next.kid) {
        let mut keys = vec![current.public, next.public];
        // The newest of the earlier ones goes on being believed until the new key signs.
        let earlier = published.document.keys.into_iter().find(|jwk| !keys.iter().any(|known| same(known, jwk)));
        keys.extend(earlier);
        publish(&public, keys)?;
    }
    Ok(next.kid)
}

/// Makes the next key the one that signs, and tells its name. It is published first if it was not yet. The key that
/// signed until now is still believed; the one before it is not.
///
/// # Errors
/// When there are no keys yet, or the files cannot be read or written.
pub fn rotate_keys(dir: &Path) -> Result<String, KeyError> {
    publish_next_key(dir)?;
    let (signing, next) = (dir.join(SIGNING_FILE), dir.join(NEXT_FILE));
    let (old, new) = (SigningKey::read(&signing)?, SigningKey::read(&next)?);
    publish(&dir.join(PUBLIC_FILE), vec![new.public, old.public])?;
    std::fs::rename(&next, &signing)
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(|source| KeyError::Unwritable { path: signing, source })?;
    Ok(new.kid)
}

fn same(one: &Jwk, other: &Jwk) -> bool {
    one.common.key_id == other.common.key_id
}

fn make_key(path: &Path) -> Result<(), KeyError> {
    let pem = SigningKey::generate()?;
    write_secret(path, &pem).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::Unwritable { path: path.to_owned(), source },
    })
}

/// Replaces the public file as a whole, so that no reader ever sees half of it.
fn publish(path: &Path, keys: Vec<Jwk>) -> Result<(), KeyError> {
    let unwritable = |source| KeyError::Unwritable { path: path.to_owned(), source };
    let document = JwkSet { keys };
    let mut text = serde_json::to_vec_pretty(&document).map_err(|error| unwritable(error.into()))?;
    text.push(b'\n');
    let temporary = path.with_extension("json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary).map_err(unwritable)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(unwritable)?;
    std::fs::rename(&temporary, path).map_err(unwritable)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritable)
}
