//! What a server says about itself and a database, before it is dumped and after it was restored.
//! Asked through the clients that are there anyway. Table names and all other texts are the
//! database's: they are data here, and nothing else.

use std::time::Duration;

use groundcrew_core::backups::Kind;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::child::{ChildError, ask};
use super::clients::Clients;
use super::session::Session;
use crate::backups::manifest::{Server, TABLES_MAX, Table};

/// How long the questions may take: the schema of ten thousand tables is hashed by one of them.
const WITHIN: Duration = Duration::from_mins(5);

/// What stands before the hash of a schema: the version of what is hashed. Hashes of different
/// versions say nothing about each other. The first, which had none, had expressions in it.
pub const SCHEMA_VERSION: &str = "2:";

/// Answers alone, one in a line, of what stands on stdin.
const PSQL: [&str; 5] = ["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--file=-"];

/// Each statement answers with one JSON object, or fails alone: what may be asked differs. Names
/// are qualified wherever they are printed, because nothing but the catalog is searched for them.
/// Rows are estimates of two ages, and the lower one counts: that of the last ANALYZE does not know
/// that a table was emptied since. A replica has only that one, and says nothing.
///
/// What is hashed of the schema is the same after a dump and a restore. No expression is: how a
/// server writes one down changes when it reads it again, as with `CHECK (status IN ('a', 'b'))`
/// of a varchar. Neither are what extensions bring (another host has another version of them),
/// invalid indexes, which pg_dump leaves out, what a column has of its parents, and the constraints
/// of partitions, which the server names anew.
const POSTGRES: &str = r#"
set search_path = pg_catalog;
select json_build_object('version', current_setting('server_version'),
  'number', current_setting('server_version_num')::int,
  'encoding', pg_encoding_to_char(encoding), 'database', oid::text)
  from pg_database where datname = current_database();
select json_build_object('system', system_identifier::text) from pg_control_system();
select json_build_object('lsn', (case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
  else pg_current_wal_lsn() end)::text);
select json_build_object('extensions',
  coalesce(json_agg(json_build_array(extname, nspname) order by extname), '[]'))
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace where extname <> 'plpgsql';
select json_build_object('roles', coalesce(json_agg(rolname order by rolname), '[]'))
  from pg_roles where rolname !~ '^(pg_|rds)' limit 1000;
with own as (
  select c.oid, n.nspname, c.relname, c.relkind, c.reltuples
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
    and c.relpersistence <> 't' and not exists (select from pg_depend d
      where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'))
select json_build_object('table', json_build_array(nspname, relname,
  case when reltuples >= 0 and not pg_is_in_recovery()
    then least(reltuples::bigint, pg_stat_get_live_tuples(oid)) end))
  from own where relkind = 'r' order by reltuples desc, nspname, relname limit 10000;
with own as (
  select c.oid, n.nspname, c.relname, c.relkind
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
    and c.relpersistence <> 't' and not exists (select from pg_depend d
      where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')),
columns as (
  select nspname, relname, relkind, attname, attinhcount, attnotnull,
    format_type(atttypid, atttypmod) as type
    from own join pg_attribute a on a.attrelid = own.oid where attnum > 0 and not attisdropped),
lines as (
  select format('relation %I.%I %s', nspname, relname, relkind) as line from own
    where relkind not in ('i', 'I')
  union all
  select format('column %I.%I.%I %s %s', nspname, relname, attname, type,
    case when attinhcount = 0 then attnotnull end)
    from columns where relkind in ('r', 'p', 'f')
  union all
  select format('column %I.%I.%I', nspname, relname, attname)
    from columns where relkind in ('v', 'm')
  union all
  select format('constraint %I.%I %I %s (%s) %s.%s', own.nspname, own.relname, conname, contype,
    (select string_agg(quote_ident(attname), ',' order by case contype when 'c' then 0 else n end,
        attname collate pg_catalog."C")
      from unnest(conkey) with ordinality as key(number, n)
      join pg_attribute a on a.attrelid = own.oid and a.attnum = number),
    quote_ident(n.nspname), quote_ident(f.relname))
    from own join pg_constraint k on k.conrelid = own.oid
    left join pg_class f on f.oid = confrelid left join pg_namespace n on n.oid = f.relnamespace
    where contype in ('p', 'u', 'f', 'c', 'x') and conparentid = 0
  union all
  select format('index %I.%I %I %s %s (%s) %s', nspname, own.relname, c.relname, amname,
    indisunique, (select string_agg(coalesce(quote_ident(attname), '()'), ',' order by n)
      from unnest(indkey::int2[]) with ordinality as key(number, n)
      left join pg_attribute a on a.attrelid = own.oid and a.attnum = number and number <> 0),
    indpred is not null)
    from own join pg_index on indrelid = own.oid join pg_class c on c.oid = indexrelid
    join pg_am on pg_am.oid = c.relam
    where indisvalid or c.relkind = 'I')
select json_build_object('schema', encode(sha256(convert_to(
  coalesce(string_agg(line, E'\n' order by line collate pg_catalog."C"), ''), 'UTF8')), 'hex'))
  from lines;
"#;

/// Counts the rows of every table: the server writes the statements, and quotes the names in them.
const POSTGRES_COUNTS: &str = r"
set search_path = pg_catalog;
select format('select json_build_object(''table'', json_build_array(%L, %L, count(*))) from %I.%I',
    n.nspname, c.relname, n.nspname, c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema')
    and n.nspname !~ '^pg_' order by 1 limit 10000 \gexec
";

/// The same of MySQL and MariaDB. Their identity is a variable under two names.
const MYSQL: &str = r"
select json_object('version', version(), 'encoding', @@character_set_database);
show global variables where variable_name in ('server_uuid', 'server_uid');
select json_object('table', json_array(table_schema, table_name, table_rows))
  from information_schema.tables where table_schema = database() and table_type = 'BASE TABLE'
  order by table_rows desc, table_name limit 10000;
set session group_concat_max_len = 67108864;
select json_object('schema', sha2(coalesce(group_concat(concat_ws(' ', table_name, column_name,
  column_type, is_nullable, column_default) order by table_name, column_name separator '|'), ''),
  256)) from information_schema.columns where table_schema = database();
";

/// What a server said that is none of what was asked.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The client.
    #[error("could not ask the server")]
    Client(#[from] ChildError),
    /// Its answer.
    #[error("the server's answer to what it is cannot be read")]
    Answer(#[source] serde_json::Error),
    /// It is not whole.
    #[error("the server did not say its version")]
    Version,
}

#[derive(Deserialize, Default)]
struct Said {
    version: Option<String>,
    number: Option<u32>,
    encoding: Option<String>,
    database: Option<String>,
    system: Option<String>,
    lsn: Option<String>,
    extensions: Option<Vec<(String, String)>>,
    roles: Option<Vec<String>>,
    table: Option<(String, String, Option<u64>)>,
    schema: Option<String>,
}

/// Asks `session`'s server through any of its clients: which one does not matter for questions.
pub async fn ask_server(
    kind: Kind,
    session: &Session,
    clients: &Clients,
    stop: &CancellationToken,
) -> Result<Server, FactsError> {
    let (arguments, questions): (&[&str], _) = match kind {
        Kind::PgDump | Kind::RdsSnapshot => (&PSQL, POSTGRES),
        Kind::MysqlDump => (&["--batch", "--raw", "--skip-column-names"], MYSQL),
    };
    let program = clients.program(clients.asker(kind));
    let mut command = session.command(&program, clients);
    command.args(arguments);
    if kind == Kind::MysqlDump {
        command.arg(format!("--database={}", session.database()));
    }
    let said = ask(&program, command, questions.to_owned(), WITHIN, stop).await?;
    server(session, &said)
}

/// How many rows each table of a PostgreSQL database has, counted one by one.
pub async fn count_rows(
    session: &Session,
    clients: &Clients,
    within: Duration,
    stop: &CancellationToken,
) -> Result<Vec<Table>, FactsError> {
    let program = clients.program("psql");
    let mut command = session.command(&program, clients);
    command.args(PSQL);
    let said = ask(&program, command, POSTGRES_COUNTS.to_owned(), within, stop).await?;
    let mut tables = Vec::new();
    for object in serde_json::Deserializer::from_str(&said).into_iter::<Said>() {
        let table = object.map_err(FactsError::Answer)?.table;
        tables.extend(table.map(|(schema, name, rows)| Table { schema, name, rows }));
    }
    Ok(tables)
}

fn server(session: &Session, said: &str) -> Result<Server, FactsError> {
    let mut all = Said::default();
    let mut tables = Vec::new();
    let variables = |line: &&str| line.starts_with("server_u");
    for line in said.lines().filter(variables) {
        all.system = line.split_once('\t').map(|(_, value)| value.to_owned());
    }
    let json: String = said.lines().filter(|line| !variables(line)).collect();
    for object in serde_json::Deserializer::from_str(&json).into_iter::<Said>() {
        let object = object.map_err(FactsError::Answer)?;
        all.version = object.version.or(all.version);
        all.number = object.number.or(all.number);
        all.encoding = object.encoding.or(all.encoding);
        all.database = object.database.or(all.database);
        all.system = object.system.or(all.system);
        all.lsn = object.lsn.or(all.lsn);
        all.extensions = object.extensions.or(all.extensions);
        all.roles = object.roles.or(all.roles);
        all.schema = object.schema.or(all.schema);
        let table = object.table.filter(|_| tables.len() < TABLES_MAX);
        tables.extend(table.map(|(schema, name, rows)| Table { schema, name, rows }));
    }
    let version = all.version.ok_or(FactsError::Version)?;
    let first = || version.split('.').next().and_then(|number| number.parse().ok());
    // 150018 is 15.18; before 10, 90624 was 9.6.24, of which nobody is left to be told apart.
    let major = all.number.map(|number| number / 10_000).or_else(first);
    let major = major.ok_or(FactsError::Version)?;
    // Where the system may not be asked, at least another server of another name is another one.
    let system = all.system.unwrap_or_else(|| session.server());
    let database = all.database.unwrap_or_else(|| session.database().to_owned());
    Ok(Server {
        major,
        system: format!("{system}/{database}"),
        database: session.database().to_owned(),
        lsn: all.lsn,
        encoding: all.encoding.unwrap_or_default(),
        extensions: all.extensions.unwrap_or_default(),
        roles: all.roles.unwrap_or_default(),
        schema_sha256: all.schema.map(|hash| format!("{SCHEMA_VERSION}{hash}")),
        tables,
        version,
    })
}
