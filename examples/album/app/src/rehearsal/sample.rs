//! What requests can name before anybody has sent one: album 1 with photo 1 in it, the empty album 2, and, for
//! shipping, order 1. It is the same each time, and made once.

use crate::aws::Aws;
use crate::db::Db;
use crate::orders::Wish;
use crate::storage::Storage;
use crate::{Result, config, log};
use image::{ImageFormat, Rgb, RgbImage};
use std::io::Cursor;
use std::time::Duration;

/// The sample's album and photo.
pub const FIRST: u64 = 1;
const ORIGINAL: &str = "albums/1/sample/original.png";

/// Makes albums and photo in a new database, then ends.
pub async fn run() -> Result<()> {
    let db = Db::new(config::Database::from(&config::environment)?);
    let aws = Aws::new(config::Aws::from(&config::environment)?)?;
    let storage = Storage::new(aws, config::Storage::from(&config::environment)?);
    make(&db, &storage).await?;
    log::info("sample is there", &[("photo", &FIRST.to_string())]);
    db.close().await
}

/// Makes an order in shipping's new database that is shipped already, then ends.
pub async fn run_shipping() -> Result<()> {
    let db = Db::new(config::Database::from(&config::environment)?);
    let wish = Wish { photo: FIRST, copies: 2, address: "Kyoto".to_owned() };
    let order = db.accept("sample", &wish).await?;
    is_first("order", order.id)?;
    db.charge(order.id, Duration::from_secs(86_400)).await?;
    db.shipped(order.id).await?;
    log::info("sample is there", &[("order", &order.id.to_string())]);
    db.close().await
}

/// Makes albums and photo in a new database, unless they are there.
pub async fn make(db: &Db, storage: &Storage) -> Result<()> {
    if db.photo(FIRST).await?.is_some() {
        return Ok(());
    }
    is_first("album", db.add_album("Kyoto").await?.id)?;
    db.add_album("Uploads").await?;
    storage.put(ORIGINAL, "image/png", picture()?).await?;
    is_first("photo", db.add_photo(FIRST, "image/png", ORIGINAL).await?.id)
}

fn is_first(what: &str, id: u64) -> Result<()> {
    if id == FIRST {
        return Ok(());
    }
    Err(format!("the new {what} is number {id}: a rehearsal's requests need a database that was empty")
        .into())
}

/// A picture that is quickly made smaller.
fn picture() -> Result<Vec<u8>> {
    let shade = |number: u32| u8::try_from(number % 256).unwrap_or_default();
    let picture = RgbImage::from_fn(800, 600, |x, y| Rgb([shade(x / 8), shade(y / 8), shade((x + y) / 16)]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_can_be_made_of_the_picture() {
        let picture = picture().unwrap();
        assert!(picture.len() < 1_000_000, "{} bytes", picture.len());
        let thumbnail = crate::thumbnail::make(&picture, 320).unwrap();
        assert!(!thumbnail.bytes.is_empty());
    }

    #[test]
    fn a_database_with_something_in_it_is_refused() {
        let error = is_first("album", 7).unwrap_err().to_string();
        assert!(error.starts_with("the new album is number 7: "), "{error}");
    }
}
