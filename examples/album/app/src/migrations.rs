//! The schema and its history. Migrations only ever add, so that the code before and the code after
//! can run side by side while a release is under way.

use crate::db::Db;
use crate::{Result, config, log};
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// Never change one that was released: add another. The database commits each statement at once,
/// so every one must stand being run again after a crash.
const MIGRATIONS: &[(u32, &str)] = &[
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
];

/// Two releases may migrate at the same time; the second waits for this lock. It is per server,
/// hence the database's name in it.
const LOCK: &str = "CONCAT('migrate:', LEFT(SHA1(DATABASE()), 32))";

/// Runs what has not run yet, then ends.
pub async fn run() -> Result<()> {
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
    for (version, statement) in MIGRATIONS.iter().filter(|(version, _)| !applied.contains(version)) {
        let outcome = connection.query_drop(*statement).await;
        outcome.map_err(|error| format!("migration {version}: {error}"))?;
        connection.exec_drop("INSERT INTO schema_migrations (version) VALUES (?)", (version,)).await?;
        log::info("migrated", &[("version", &version.to_string())]);
    }
    // The lock ends with the connection.
    drop(connection);
    db.close().await?;
    log::info("schema is up to date", &[("version", &latest().to_string())]);
    Ok(())
}

/// Whether the schema is at least what this code was written for.
pub async fn current(db: &Db) -> Result<()> {
    let query = "SELECT MAX(version) FROM schema_migrations";
    let version: Option<Option<u32>> = db.connection().await?.query_first(query).await?;
    match version.flatten().unwrap_or(0) {
        version if version >= latest() => Ok(()),
        version => Err(format!("the schema is at version {version}, not {}", latest()).into()),
    }
}

fn latest() -> u32 {
    MIGRATIONS.iter().map(|(version, _)| *version).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_and_statements_can_run_again() {
        let versions: Vec<u32> = MIGRATIONS.iter().map(|(version, _)| *version).collect();
        assert_eq!(versions, (1..=latest()).collect::<Vec<_>>());
        assert!(MIGRATIONS.iter().all(|(_, statement)| statement.contains("IF NOT EXISTS")));
    }
}
