mod accounts; mod balances; mod chain; mod commands; mod finding; mod ledger; mod outcomes; mod reversals; mod sequences; mod snapshot;
#[cfg(test)] mod made;
