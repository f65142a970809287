//! Generations of a projection: which tables are live, how far they are, and how new ones take their place.

use sqlx::{PgConnection, PgPool, Row};

use crate::projection::Projection;

/// One generation: a schema with the projection's tables, and the position they are folded to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Generation {
    pub(crate) number: i32,
    pub(crate) version: i32,
    pub(crate) schema: String,
    pub(crate) position: i64,
}

/// The live generation of `name`, if it was ever made.
pub(crate) async fn live(pool: &PgPool, name: &str) -> sqlx::Result<Option<Generation>> {
    let row = sqlx::query(
        "SELECT generation, version, schema, position FROM checkpoints WHERE name = $1 AND status = 'live'",
    )
    .bind(name)
    .fetch_optional(pool)
    .await?;
    row.map(|row| generation(&row)).transpose()
}

fn generation(row: &sqlx::postgres::PgRow) -> sqlx::Result<Generation> {
    Ok(Generation {
        number: row.try_get(0)?,
        version: row.try_get(1)?,
        schema: row.try_get(2)?,
        position: row.try_get(3)?,
    })
}

/// Makes the tables of a new generation, empty and not yet answering. The first of a name is live at once.
pub(crate) async fn create(pool: &PgPool, projection: &dyn Projection) -> sqlx::Result<Generation> {
    let name = projection.name();
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('generation:' || $1))")
        .bind(name)
        .execute(&mut *tx)
        .await?;
    let (last, has_live): (i32, bool) = sqlx::query_as(
        "SELECT COALESCE(max(generation), 0), COALESCE(bool_or(status = 'live'), false)
         FROM checkpoints WHERE name = $1",
    )
    .bind(name)
    .fetch_one(&mut *tx)
    .await?;
    let number = last + 1;
    let schema = format!("p_{name}_{number}");
    let version = projection.version();
    sqlx::query(&format!("CREATE SCHEMA {schema}")).execute(&mut *tx).await?;
    set_schema(&mut tx, &schema).await?;
    projection.create(&mut tx).await?;
    let status = if has_live { "building" } else { "live" };
    sqlx::query(
        "INSERT INTO checkpoints (name, generation, version, schema, status) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(name)
    .bind(number)
    .bind(version)
    .bind(&schema)
    .bind(status)
    .execute(&mut *tx)
    .await?;
    if !has_live {
        show(&mut tx, projection, &schema).await?;
    }
    tx.commit().await?;
    Ok(Generation { number, version, schema, position: 0 })
}

/// Until the transaction ends, names without a schema mean those of `schema`.
pub(crate) async fn set_schema(connection: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    sqlx::query(&format!("SET LOCAL search_path TO {schema}, public")).execute(connection).await?;
    Ok(())
}

/// Moves the position within a transaction, only from where it was. False: somebody else moved it, or it is not
/// of that generation any more.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    name: &str,
    generation: i32,
    from: i64,
    to: i64,
) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "UPDATE checkpoints SET position = $4, updated_at = clock_timestamp()
         WHERE name = $1 AND generation = $2 AND position = $3 AND status <> 'retired'",
    )
    .bind(name)
    .bind(generation)
    .bind(from)
    .bind(to)
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Points the views at `schema`.
pub(crate) async fn show(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    schema: &str,
) -> sqlx::Result<()> {
    for table in projection.tables() {
        sqlx::query(&format!("DROP VIEW IF EXISTS projections.{table}"))
            .execute(&mut *connection)
            .await?;
        sqlx::query(&format!("CREATE VIEW projections.{table} AS SELECT * FROM {schema}.{table}"))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Takes the live row of `name` until the transaction ends, so that the live generation cannot move meanwhile.
pub(crate) async fn hold_live(
    connection: &mut PgConnection,
    name: &str,
) -> sqlx::Result<Option<Generation>> {
    let row = sqlx::query(
        "SELECT generation, version, schema, position FROM checkpoints
         WHERE name = $1 AND status = 'live' FOR UPDATE",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    row.map(|row| generation(&row)).transpose()
}

/// Makes `next`, which is folded up to `position`, the live generation, within a transaction. What was retired before
/// is dropped. A rebuild folds every event or fails, so what was parked up to there is in the new tables: its letters
/// are closed, or a retry would fold it a second time and its keys would stay parked.
pub(crate) async fn flip(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    next: &Generation,
    position: i64,
) -> sqlx::Result<()> {
    let name = projection.name();
    sqlx::query(
        "UPDATE public.dead_letters SET resolved_at = clock_timestamp(), resolution = 'folded by a rebuild'
         WHERE source = 'projection' AND name = $1 AND position <= $2 AND resolved_at IS NULL",
    )
    .bind(name)
    .bind(position)
    .execute(&mut *connection)
    .await?;
    let old: Vec<String> = sqlx::query_scalar(
        "DELETE FROM checkpoints WHERE name = $1 AND status = 'retired' RETURNING schema",
    )
    .bind(name)
    .fetch_all(&mut *connection)
    .await?;
    for update in [
        "UPDATE checkpoints SET status = 'retired' WHERE name = $1 AND status = 'live' AND generation <> $2",
        "UPDATE checkpoints SET status = 'live' WHERE name = $1 AND generation = $2",
    ] {
        sqlx::query(update).bind(name).bind(next.number).execute(&mut *connection).await?;
    }
    show(connection, projection, &next.schema).await?;
    for schema in old {
        sqlx::query(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
