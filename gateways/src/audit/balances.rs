//! The projection `balances`, row by row, against the accounts as history has them at its checkpoint.

use futures::TryStreamExt;
use journal::copy::{self, Tuple};
use projections::balances::Sums;
use sqlx::PgConnection;

use super::accounts::{Accounts, Then};
use super::finding::{Disagreement, Findings};

/// Compares every row of the generation in `schema`; answers how many accounts were compared.
pub async fn check(
    connection: &mut PgConnection,
    schema: &str,
    accounts: &mut Accounts,
    findings: &mut Findings,
) -> sqlx::Result<u64> {
    let query = format!(
        "SELECT account, credits, available, held, captured, reversed, position, updated_at
         FROM {schema}.balances ORDER BY account COLLATE \"C\""
    );
    let mut count = 0;
    {
        let mut batches = std::pin::pin!(copy::rows::<8>(connection, &query));
        while let Some(batch) = batches.try_next().await? {
            for row in &batch {
                let account = row.text(0)?;
                if accounts.covers(account) {
                    count += 1;
                    compare(account, accounts.compare(account), stored(row)?, findings);
                }
            }
        }
    }
    name_missing(accounts, "balances", findings);
    Ok(count)
}

/// Compares the sums of `statements` up to `position` with the accounts as they were there.
pub async fn check_as_of(
    connection: &mut PgConnection,
    schema: &str,
    position: i64,
    accounts: &mut Accounts,
    findings: &mut Findings,
) -> sqlx::Result<u64> {
    let query = format!(
        "SELECT account, sum(available_delta)::bigint, sum(held_delta)::bigint, max(position)
         FROM {schema}.statements WHERE position <= {position}
         GROUP BY account ORDER BY account COLLATE \"C\""
    );
    let mut count = 0;
    {
        let mut batches = std::pin::pin!(copy::rows::<4>(connection, &query));
        while let Some(batch) = batches.try_next().await? {
            for row in &batch {
                let account = row.text(0)?;
                if !accounts.covers(account) {
                    continue;
                }
                count += 1;
                let then = accounts.compare(account);
                let (available, held) = (row.i64(1)?, row.i64(2)?);
                let sums = then.map_or_else(Sums::default, |then| then.sums);
                let stored = Then {
                    sums: Sums { available, held, ..sums },
                    position: row.i64(3)?,
                    recorded_at: then.map_or(0, |then| then.recorded_at),
                };
                compare(account, then, stored, findings);
            }
        }
    }
    name_missing(accounts, "statements", findings);
    Ok(count)
}

fn stored(row: &Tuple<8>) -> sqlx::Result<Then> {
    Ok(Then {
        sums: Sums {
            credits: row.i64(1)?,
            available: row.i64(2)?,
            held: row.i64(3)?,
            captured: row.i64(4)?,
            reversed: row.i64(5)?,
        },
        position: row.i64(6)?,
        recorded_at: row.micros(7)?,
    })
}

fn compare(account: &str, expected: Option<Then>, stored: Then, findings: &mut Findings) {
    let Some(expected) = expected else {
        findings.add(|| Disagreement {
            position: Some(stored.position),
            about: format!("balance of account {account}"),
            field: "account".to_owned(),
            expected: "no row".to_owned(),
            found: format!("{} available", stored.sums.available),
            sentence: format!(
                "balance of account {account}: there is a row ({} available), and history knows no such account",
                stored.sums.available
            ),
        });
        return;
    };
    let (is, should) = (stored.sums, expected.sums);
    let columns = [
        ("available", should.available, is.available),
        ("held", should.held, is.held),
        ("credits", should.credits, is.credits),
        ("captured", should.captured, is.captured),
        ("reversed", should.reversed, is.reversed),
        ("position", expected.position, stored.position),
        ("updated_at", expected.recorded_at, stored.recorded_at),
    ];
    for (column, should, is) in columns {
        if should != is {
            findings.add(|| differs(account, column, should, is, expected.position));
        }
    }
}

fn differs(account: &str, column: &str, should: i64, is: i64, position: i64) -> Disagreement {
    let about = format!("balance of account {account}");
    Disagreement {
        position: Some(position),
        sentence: format!(
            "{about}: {column} is {is}, history says {should} (its last event is {position})"
        ),
        about,
        field: column.to_owned(),
        expected: should.to_string(),
        found: is.to_string(),
    }
}

fn name_missing(accounts: &Accounts, table: &str, findings: &mut Findings) {
    let mut missing: Vec<_> = accounts.not_compared().collect();
    missing.sort_unstable_by_key(|(account, _)| *account);
    for (account, then) in missing {
        findings.add(|| Disagreement {
            position: Some(then.position),
            about: format!("balance of account {account}"),
            field: "account".to_owned(),
            expected: format!("{} available", then.sums.available),
            found: "no row".to_owned(),
            sentence: format!(
                "balance of account {account}: {table} has no row, history says {} available (its last event is {})",
                then.sums.available, then.position
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::history;
    use super::*;

    fn accounts() -> Accounts {
        let mut accounts = Accounts::new(&[], i64::MAX);
        history(5).iter().for_each(|event| accounts.see(&event.content()));
        accounts
    }

    #[test]
    fn a_changed_column_is_named_with_both_values() {
        let mut accounts = accounts();
        let mut findings = Findings::default();
        let expected = accounts.compare("5001");
        let mut stored = expected.expect("known");
        compare("5001", expected, stored, &mut findings);
        assert!(findings.is_empty());
        stored.sums.available = 16;
        compare("5001", expected, stored, &mut findings);
        assert_eq!(
            findings.first[0].sentence,
            "balance of account 5001: available is 16, history says 15 (its last event is 5)"
        );
    }

    #[test]
    fn a_missing_row_and_a_row_too_many_are_named() {
        let mut accounts = accounts();
        let mut findings = Findings::default();
        name_missing(&accounts, "balances", &mut findings);
        assert!(findings.first[0].sentence.contains("has no row, history says 15 available"));
        let unknown = accounts.compare("5009");
        compare("5009", unknown, Then::default(), &mut findings);
        assert!(findings.first[1].sentence.contains("history knows no such account"));
    }
}
