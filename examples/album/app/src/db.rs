//! Albums and photos in the database.

use crate::{Result, config};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Pool, PoolConstraints, PoolOpts, params};
use serde::Serialize;
use std::time::Duration;

/// Connections to the database.
#[derive(Clone)]
pub struct Db {
    pool: Pool,
}

/// A named collection of photos.
#[derive(Debug, Serialize)]
pub struct Album {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub title: String,
    /// How many photos it has.
    pub photos: u64,
}

/// A photo and how far its thumbnail is.
#[derive(Debug, Serialize)]
pub struct Photo {
    /// Its number.
    pub id: u64,
    /// The album that it is in.
    pub album_id: u64,
    /// What the uploader said that it is.
    pub content_type: String,
    /// `pending`, `ready` or `failed`.
    pub state: String,
    /// Why the last attempt at a thumbnail failed.
    pub error: Option<String>,
    /// Where the original is kept.
    #[serde(skip)]
    pub original_key: String,
    /// Where the thumbnail is kept, once there is one.
    #[serde(skip)]
    pub thumbnail_key: Option<String>,
}

const PHOTO: &str = "SELECT id, album_id, content_type, state, error, original_key, thumbnail_key \
                     FROM photos";

/// The columns of [`PHOTO`].
type PhotoRow = (u64, u64, String, String, Option<String>, String, Option<String>);

impl From<PhotoRow> for Photo {
    fn from(row: PhotoRow) -> Self {
        let (id, album_id, content_type, state, error, original_key, thumbnail_key) = row;
        Photo { id, album_id, content_type, state, error, original_key, thumbnail_key }
    }
}

impl Db {
    /// A pool for this configuration; it connects when it is first used.
    pub fn new(config: config::Database) -> Self {
        let constraints = PoolConstraints::new(0, 10).unwrap_or_default();
        let options = OptsBuilder::default()
            .ip_or_hostname(config.host)
            .tcp_port(config.port)
            .db_name(Some(config.name))
            .user(Some(config.user))
            .pass(Some(config.password))
            .pool_opts(PoolOpts::default().with_constraints(constraints));
        Db { pool: Pool::new(options) }
    }

    /// A connection; not longer awaited than a probe would.
    pub async fn connection(&self) -> Result<Conn> {
        match tokio::time::timeout(Duration::from_secs(5), self.pool.get_conn()).await {
            Ok(connection) => connection.map_err(|error| format!("database: {error}").into()),
            Err(_) => Err("database: no connection within 5 s".into()),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.connection().await?.ping().await?)
    }

    /// Says goodbye to the server.
    pub async fn close(self) -> Result<()> {
        Ok(self.pool.disconnect().await?)
    }

    /// Makes an album.
    pub async fn add_album(&self, title: &str) -> Result<Album> {
        let mut connection = self.connection().await?;
        connection.exec_drop("INSERT INTO albums (title) VALUES (?)", (title,)).await?;
        let id = connection.last_insert_id().ok_or("database: the new album has no number")?;
        Ok(Album { id, title: title.to_owned(), photos: 0 })
    }

    /// All albums, the newest first.
    pub async fn albums(&self) -> Result<Vec<Album>> {
        let query = "SELECT albums.id, title, COUNT(photos.id) FROM albums \
                     LEFT JOIN photos ON album_id = albums.id \
                     GROUP BY albums.id ORDER BY albums.id DESC LIMIT 200";
        let album = |(id, title, photos)| Album { id, title, photos };
        Ok(self.connection().await?.query_map(query, album).await?)
    }

    /// Whether there is such an album.
    pub async fn has_album(&self, id: u64) -> Result<bool> {
        let found: Option<u64> =
            self.connection().await?.exec_first("SELECT id FROM albums WHERE id = ?", (id,)).await?;
        Ok(found.is_some())
    }

    /// Registers a photo whose original is stored already.
    pub async fn add_photo(&self, album: u64, content_type: &str, key: &str) -> Result<Photo> {
        let mut connection = self.connection().await?;
        let insert = "INSERT INTO photos (album_id, content_type, original_key) VALUES (?, ?, ?)";
        connection.exec_drop(insert, (album, content_type, key)).await?;
        let id = connection.last_insert_id().ok_or("database: the new photo has no number")?;
        drop(connection);
        self.photo(id).await?.ok_or_else(|| "database: the new photo is gone".into())
    }

    /// Forgets a photo and what was made of it.
    pub async fn remove_photo(&self, id: u64) -> Result<()> {
        let mut connection = self.connection().await?;
        connection.exec_drop("DELETE FROM posters WHERE photo_id = ?", (id,)).await?;
        Ok(connection.exec_drop("DELETE FROM photos WHERE id = ?", (id,)).await?)
    }

    /// Photos that came more than so many days ago, the oldest first.
    pub async fn older_photos(&self, days: u32, most: usize) -> Result<Vec<Photo>> {
        let query = format!("{PHOTO} WHERE created_at < NOW() - INTERVAL ? DAY ORDER BY id LIMIT {most}");
        Ok(self.connection().await?.exec_map(query, (days,), |row: PhotoRow| row.into()).await?)
    }

    /// One photo.
    pub async fn photo(&self, id: u64) -> Result<Option<Photo>> {
        let query = format!("{PHOTO} WHERE id = ?");
        let row: Option<PhotoRow> = self.connection().await?.exec_first(query, (id,)).await?;
        Ok(row.map(Photo::from))
    }

    /// An album's photos, in the order in which they came.
    pub async fn photos(&self, album: u64) -> Result<Vec<Photo>> {
        let query = format!("{PHOTO} WHERE album_id = ? ORDER BY id");
        Ok(self.connection().await?.exec_map(query, (album,), |row: PhotoRow| row.into()).await?)
    }

    /// An attempt failed. A thumbnail that another delivery of the same order made stays.
    pub async fn thumbnail_failed(&self, id: u64, error: &str) -> Result<()> {
        let update = "UPDATE photos SET state = 'failed', error = LEFT(:error, 500) WHERE id = :id AND state <> 'ready'";
        Ok(self.connection().await?.exec_drop(update, params! { "id" => id, "error" => error }).await?)
    }
}
