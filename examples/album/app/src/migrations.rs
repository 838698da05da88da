//! The schema and its history. Migrations only ever add, so that the code before and the code after
//! can run side by side while a release is under way.

use crate::db::Db;
use crate::{Result, config, log};
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// One schema's migrations. Never change one that was released: add another. The database commits each
/// statement at once, so every one must stand being run again after a crash.
pub type Schema = [(u32, &'static str)];

/// Albums, photos, and the jobs that have to do with them.
pub const ALBUM: &Schema = &[
    (
        1,
        "CREATE TABLE IF NOT EXISTS albums (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            title VARCHAR(200) NOT NULL,
            created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
        ) CHARACTER SET utf8mb4",
    ),
    (
        2,
        "CREATE TABLE IF NOT EXISTS photos (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            album_id BIGINT UNSIGNED NOT NULL,
            content_type VARCHAR(100) NOT NULL,
            state VARCHAR(10) NOT NULL DEFAULT 'pending',
            error VARCHAR(500),
            original_key VARCHAR(300) NOT NULL,
            thumbnail_key VARCHAR(300),
            created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
            FOREIGN KEY (album_id) REFERENCES albums (id)
        ) CHARACTER SET utf8mb4",
    ),
    (
        3,
        "CREATE TABLE IF NOT EXISTS jobs (
            job VARCHAR(100) NOT NULL PRIMARY KEY,
            kind VARCHAR(20) NOT NULL,
            state VARCHAR(10) NOT NULL DEFAULT 'running',
            instance VARCHAR(100) NOT NULL,
            until DATETIME(3) NOT NULL,
            created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
        ) CHARACTER SET utf8mb4",
    ),
    (
        4,
        "CREATE TABLE IF NOT EXISTS thumbnail_runs (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            job VARCHAR(100) NOT NULL,
            kind VARCHAR(20) NOT NULL,
            instance VARCHAR(100) NOT NULL,
            at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
            INDEX (job)
        ) CHARACTER SET utf8mb4",
    ),
    (
        5,
        "CREATE TABLE IF NOT EXISTS posters (
            photo_id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
            object_key VARCHAR(300) NOT NULL
        ) CHARACTER SET utf8mb4",
    ),
    (
        6,
        "CREATE TABLE IF NOT EXISTS batch_runs (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            name VARCHAR(20) NOT NULL,
            instance VARCHAR(100) NOT NULL,
            started_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
            ended_at DATETIME(6),
            outcome VARCHAR(10) NOT NULL DEFAULT 'running',
            result VARCHAR(500) NOT NULL DEFAULT ''
        ) CHARACTER SET utf8mb4",
    ),
    (
        7,
        "CREATE TABLE IF NOT EXISTS deliveries (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            job VARCHAR(100) NOT NULL,
            kind VARCHAR(20) NOT NULL,
            event VARCHAR(10) NOT NULL,
            instance VARCHAR(100) NOT NULL,
            at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
        ) CHARACTER SET utf8mb4",
    ),
];

/// Orders of prints and what was charged for them. It is shipping's own: a database that only
/// shipping's user may use.
pub const SHIPPING: &Schema = &[
    (
        1,
        "CREATE TABLE IF NOT EXISTS orders (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            idempotency_key VARCHAR(100) NOT NULL UNIQUE,
            photo BIGINT UNSIGNED NOT NULL,
            copies INT UNSIGNED NOT NULL,
            address VARCHAR(500) NOT NULL,
            amount INT UNSIGNED NOT NULL,
            state VARCHAR(10) NOT NULL DEFAULT 'accepted',
            created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
        ) CHARACTER SET utf8mb4",
    ),
    (
        2,
        "CREATE TABLE IF NOT EXISTS charges (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            order_id BIGINT UNSIGNED NOT NULL,
            amount INT UNSIGNED NOT NULL,
            instance VARCHAR(100) NOT NULL,
            at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
            INDEX (order_id)
        ) CHARACTER SET utf8mb4",
    ),
];

/// Two releases may migrate at the same time; the second waits for this lock. It is per server,
/// hence the database's name in it.
const LOCK: &str = "CONCAT('migrate:', LEFT(SHA1(DATABASE()), 32))";

/// Runs what has not run yet, then ends.
pub async fn run(schema: &Schema) -> Result<()> {
    let db = Db::new(config::Database::from(&config::environment)?);
    crate::wait::until("database", Duration::from_secs(60), || db.ping()).await?;
    let mut connection = db.connection().await?;
    let locked: Option<Option<u8>> = connection.query_first(format!("SELECT GET_LOCK({LOCK}, 60)")).await?;
    if locked.flatten() != Some(1) {
        return Err("another migration has been running for 60 s".into());
    }
    connection
        .query_drop(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                version INT UNSIGNED NOT NULL PRIMARY KEY,
                applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
            )",
        )
        .await?;
    let applied: Vec<u32> = connection.query("SELECT version FROM schema_migrations").await?;
    for (version, statement) in schema.iter().filter(|(version, _)| !applied.contains(version)) {
        let outcome = connection.query_drop(*statement).await;
        outcome.map_err(|error| format!("migration {version}: {error}"))?;
        connection.exec_drop("INSERT INTO schema_migrations (version) VALUES (?)", (version,)).await?;
        log::info("migrated", &[("version", &version.to_string())]);
    }
    // The lock ends with the connection.
    drop(connection);
    db.close().await?;
    log::info("schema is up to date", &[("version", &latest(schema).to_string())]);
    Ok(())
}

/// Whether the schema is at least what this code was written for.
pub async fn current(db: &Db, schema: &Schema) -> Result<()> {
    let query = "SELECT MAX(version) FROM schema_migrations";
    let version: Option<Option<u32>> = db.connection().await?.query_first(query).await?;
    match version.flatten().unwrap_or(0) {
        version if version >= latest(schema) => Ok(()),
        version => Err(format!("the schema is at version {version}, not {}", latest(schema)).into()),
    }
}

fn latest(schema: &Schema) -> u32 {
    schema.iter().map(|(version, _)| *version).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_and_statements_can_run_again() {
        for schema in [ALBUM, SHIPPING] {
            let versions: Vec<u32> = schema.iter().map(|(version, _)| *version).collect();
            assert_eq!(versions, (1..=latest(schema)).collect::<Vec<_>>());
            assert!(schema.iter().all(|(_, statement)| statement.contains("IF NOT EXISTS")));
        }
    }
}
