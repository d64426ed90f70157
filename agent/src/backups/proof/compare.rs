//! What was restored against what was dumped. Pure.

use std::collections::BTreeMap;

use crate::backups::dump::facts::SCHEMA_VERSION;
use crate::backups::manifest::{Server, Table};

/// Differences that are named; the others are counted.
const NAMED_MAX: usize = 5;

/// A table that the server thought had more rows than this cannot be empty.
const ROWS_MANY: u64 = 1000;

/// What is missing of what was dumped, as clauses. `counted` has the rows as they are; those of
/// `dumped` are what its server thought before and after. They are estimates, and a table that had
/// more of them than it has rows is no damage: only one that came out empty is.
pub fn compare(dumped: &Server, restored: &Server, counted: &[Table]) -> Vec<String> {
    let mut differences = Vec::new();
    for (Table { schema, name, rows: estimated }, actual) in beside(dumped, counted) {
        match (actual, estimated) {
            (None, _) => differences.push(format!("table {schema}.{name} is missing")),
            (Some(0), Some(estimated)) if *estimated > ROWS_MANY => {
                differences.push(format!(
                    "table {schema}.{name} is empty, and had about {estimated} rows"
                ));
            }
            (Some(_), _) => {}
        }
    }
    let mut differences = named(differences);
    // What a server has in its catalog changes between versions, and what is hashed of it, too.
    if let (Some(before), Some(after)) = (schema(dumped), schema(restored))
        && dumped.major == restored.major
        && before != after
    {
        differences.push("the schema is not what it was".to_owned());
    }
    differences
}

/// The hash of its schema, if it is of what is hashed now.
fn schema(server: &Server) -> Option<&str> {
    server.schema_sha256.as_deref()?.strip_prefix(SCHEMA_VERSION)
}

/// Tables that have less than this share of the rows that the server had thought, for people to
/// look at. They refute nothing: see [`compare`].
pub fn fewer(dumped: &Server, counted: &[Table], rows_percent_min: u8) -> Vec<String> {
    let less = beside(dumped, counted).filter_map(|(table, actual)| {
        let (actual, estimated) = (actual?, table.rows?);
        let wanted = u128::from(estimated) * u128::from(rows_percent_min);
        let Table { schema, name, .. } = table;
        (u128::from(actual) * 100 < wanted).then(|| {
            format!(
                "table {schema}.{name} has {actual} rows, less than {rows_percent_min} % of \
                 {estimated}"
            )
        })
    });
    named(less.collect())
}

/// The tables as they were, each with its rows as they are; `None`: it is not there.
fn beside<'a>(
    dumped: &'a Server,
    counted: &[Table],
) -> impl Iterator<Item = (&'a Table, Option<u64>)> {
    let rows: BTreeMap<(String, String), u64> = counted
        .iter()
        .map(|table| ((table.schema.clone(), table.name.clone()), table.rows.unwrap_or(0)))
        .collect();
    dumped
        .tables
        .iter()
        .map(move |table| (table, rows.get(&(table.schema.clone(), table.name.clone())).copied()))
}

/// The first of them, and how many there are more.
fn named(mut differences: Vec<String>) -> Vec<String> {
    let more = differences.len().saturating_sub(NAMED_MAX);
    differences.truncate(NAMED_MAX);
    if more > 0 {
        differences.push(format!("{more} tables more differ"));
    }
    differences
}

/// Whether an assertion's answer is one row, whose first column is true.
pub fn is_true(said: &str) -> Result<(), String> {
    let mut rows = said.lines();
    let (first, second) = (rows.next(), rows.next());
    if second.is_some() {
        return Err("it has more than one row".to_owned());
    }
    match first.and_then(|row| row.split('\t').next()) {
        Some("t" | "true" | "1") => Ok(()),
        Some("") | None => Err("it has no row, or nothing in it".to_owned()),
        Some(value) => {
            let shown: String = value.chars().filter(|c| !c.is_control()).take(80).collect();
            Err(format!("it is {shown:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, rows: Option<u64>) -> Table {
        Table { schema: "public".into(), name: name.into(), rows }
    }

    fn server(tables: &[Table], schema: Option<&str>, major: u32) -> Server {
        Server {
            version: format!("{major}.1"),
            major,
            system: "1/2".into(),
            database: "shop".into(),
            lsn: None,
            encoding: "UTF8".into(),
            extensions: Vec::new(),
            roles: Vec::new(),
            schema_sha256: schema.map(str::to_owned),
            tables: tables.to_vec(),
        }
    }

    #[test]
    fn tables_and_schema_have_to_be_there_and_what_was_full_is_not_empty() {
        let dumped = server(
            &[table("a", Some(2000)), table("b", None), table("c", Some(0))],
            Some("2:x"),
            15,
        );
        let check = |restored: Server, counted: &[Table], findings: &[&str]| {
            assert_eq!(compare(&dumped, &restored, counted), findings);
        };
        let all = |a, b| [table("a", Some(a)), table("b", Some(b)), table("c", Some(0))];
        check(server(&[], Some("2:x"), 15), &all(2000, 0), &[]);
        check(server(&[], None, 15), &all(4000, 7), &[]);
        // An estimate is one: it may be of yesterday.
        check(server(&[], Some("2:x"), 15), &all(1, 0), &[]);
        let empty = "table public.a is empty, and had about 2000 rows";
        check(server(&[], Some("2:x"), 15), &all(0, 0), &[empty]);
        let missing = "table public.b is missing";
        let without = [table("a", Some(1000)), table("c", Some(0))];
        check(server(&[], Some("2:x"), 15), &without, &[missing]);
        check(server(&[], Some("2:y"), 15), &all(1000, 0), &["the schema is not what it was"]);
        check(server(&[], Some("2:y"), 16), &all(1000, 0), &[]);
        // Another version of what is hashed, and the first one, which did not say so.
        for other in ["y", "1:y", "3:x"] {
            check(server(&[], Some(other), 15), &all(1000, 0), &[]);
            let older = server(&[], Some(other), 15);
            assert_eq!(compare(&older, &server(&[], Some("2:x"), 15), &[]), Vec::<String>::new());
            assert_eq!(compare(&older, &server(&[], Some("y"), 15), &[]), Vec::<String>::new());
        }
        // A queue of some jobs may be done.
        let queue = server(&[table("q", Some(1000))], None, 15);
        assert_eq!(compare(&queue, &queue, &[table("q", Some(0))]), Vec::<String>::new());
    }

    #[test]
    fn fewer_rows_than_were_thought_are_told() {
        let dumped = server(&[table("a", Some(1000)), table("b", None)], None, 15);
        let counted = |rows| [table("a", Some(rows)), table("b", Some(0))];
        assert_eq!(fewer(&dumped, &counted(900), 90), Vec::<String>::new());
        let few = "table public.a has 899 rows, less than 90 % of 1000";
        assert_eq!(fewer(&dumped, &counted(899), 90), [few]);
        assert_eq!(fewer(&dumped, &[], 90), Vec::<String>::new());
    }

    #[test]
    fn many_differences_are_counted() {
        let tables: Vec<Table> = (0..100).map(|n| table(&format!("t{n}"), Some(1))).collect();
        let findings = compare(&server(&tables, None, 15), &server(&[], None, 15), &[]);
        assert_eq!(findings.len(), NAMED_MAX + 1);
        assert_eq!(findings[NAMED_MAX], "95 tables more differ");
    }

    #[test]
    fn an_assertion_is_one_true_row() {
        for said in ["t\n", "true", "1\t5\n"] {
            assert_eq!(is_true(said), Ok(()), "{said:?}");
        }
        for said in ["", "\n", "f\n", "0", "t\nt\n", "2\n"] {
            assert!(is_true(said).is_err(), "{said:?}");
        }
    }
}
