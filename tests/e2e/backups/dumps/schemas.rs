//! Schemas as people have them, which have to come through a proof: what a server writes down
//! differently after it was restored, and what only a superuser may make, refute nothing.

use groundcrew_core::backups::call::CallErrorKind;
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::settings::Assertion;

use super::{World, dumps, make, never, run, slot};

const MANIFEST: &str = "acme/dumps/shop/20261121/manifest.json";

/// What L2 says of the dump.
async fn proved(dumps: &groundcrew::backups::dump::Dumps) -> Vec<String> {
    dumps.prove(Level::L2, "20261121", &|_, _| {}, &never()).await.unwrap()
}

#[test]
fn a_schema_that_is_written_down_differently_is_the_same() {
    let world = World::postgres();
    world.server.sql(
        "shop",
        "set role app;
         create domain state as varchar check (value in ('x', 'y'));
         create table orders (id int generated always as identity primary key,
           status varchar(20) not null default 'new' check (status in ('new', 'paid')),
           price numeric check (price between 0 and 100), note varchar, state state,
           twice numeric generated always as (price * 2) stored,
           constraint nothing check ((status <> 'paid' and price > 0) or note is null),
           exclude using btree (note with =) where (status in ('new')));
         create index paid on orders (lower(note), price desc) include (status)
           where status in ('new', 'paid') and price between 1 and 5;
         create view paid_orders as select id, status::text || '!' as status, 'x' as fixed
           from orders where status in ('paid', 'new');
         create materialized view counted as select status, count(*) from orders group by 1;
         create table parts (id int, at date, kind varchar check (kind in ('a', 'b')),
           primary key (id, at)) partition by range (at);
         create table parts_1 partition of parts for values from ('2026-01-01') to ('2026-02-01');
         create table parts_2 partition of parts for values from ('2026-02-01') to ('2026-03-01');
         create table of_parts (id int, at date, foreign key (id, at) references parts);
         create table parent (a int not null, b varchar check (b in ('p', 'q')));
         create table child (c int) inherits (parent);
         alter table only parent alter b set not null;
         alter table orders add column gone int; alter table orders drop column gone;
         insert into orders (status, price) values ('new', 5);",
    );
    // It is not valid, and so in no dump: what is the same twice is not unique.
    world.server.sql("shop", "set role app; insert into parent values (1, 'p'), (1, 'p')");
    world.server.refused("shop", "create unique index concurrently broken on parent (a)");
    let dumps = world.dumps();
    run(async {
        make(&dumps, slot()).await;
        assert_eq!(proved(&dumps).await, Vec::<String>::new());
        let manifest = String::from_utf8(world.object(MANIFEST)).unwrap();
        let (_, rest) = manifest.split_once("\"schema_sha256\":\"").unwrap();
        let hash = rest.split_once('"').unwrap().0;
        assert!(hash.starts_with("2:") && hash.len() == 66, "{hash}");
        let with = |other: &str| world.put(MANIFEST, manifest.replace(hash, other).as_bytes());
        // That of an agent that hashed something else is not compared.
        with(&"0".repeat(64));
        assert_eq!(proved(&dumps).await, Vec::<String>::new());
        with(&format!("2:{}", "0".repeat(64)));
        assert_eq!(proved(&dumps).await, ["the schema is not what it was"]);
    });
}

#[test]
fn what_a_schema_loses_is_seen() {
    let world = World::postgres();
    let dumps = world.dumps();
    world.server.sql("shop", "set role app; create unique index names on customers (id, name)");
    let hash = || {
        let manifest: serde_json::Value = serde_json::from_slice(&world.object(MANIFEST)).unwrap();
        manifest["server"]["schema_sha256"].as_str().expect("a hash").to_owned()
    };
    run(async {
        make(&dumps, slot()).await;
        let mut seen = vec![hash()];
        for change in [
            "drop view recent",
            "alter table customers alter name drop not null",
            "alter table customers alter name type varchar(50)",
            "drop index names",
            "create index names on customers (id, name)",
            "alter table customers add check (id > 0)",
            "alter table \"odd \"\" name\".\"a;b\" drop constraint \"a;b_id_fkey\"",
            "alter table customers drop column tags",
        ] {
            dumps.delete("20261121").await.unwrap();
            world.server.sql("shop", change);
            make(&dumps, slot()).await;
            assert!(!seen.contains(&hash()), "{change}");
            seen.push(hash());
        }
    });
}

#[test]
fn what_only_a_superuser_may_make_refutes_nothing() {
    let world = World::postgres();
    world.server.sql(
        "shop",
        "create extension postgres_fdw; grant usage on foreign data wrapper postgres_fdw to app;
         set role app; create server far foreign data wrapper postgres_fdw
           options (host 'far.example', dbname 'far');
         create user mapping for app server far options (user 'far', password 'far');
         create foreign table far_away (id int not null) server far;
         create function watch() returns event_trigger language plpgsql as 'begin end';
         reset role; create event trigger watch on ddl_command_end execute function watch();
         create event trigger off on sql_drop execute function watch();
         alter event trigger off disable;",
    );
    let mut settings = world.settings();
    let sql = "select count(*) = 1 from pg_foreign_table";
    settings.proof.assertions.push(Assertion { name: "far".into(), sql: sql.into() });
    let dumps = dumps(settings);
    run(async {
        make(&dumps, slot()).await;
        assert_eq!(proved(&dumps).await, Vec::<String>::new());
        // What cannot be tried here proves nothing either way.
        dumps.delete("20261121").await.unwrap();
        let wrapper = "create foreign data wrapper own; create server own foreign data wrapper own";
        world.server.sql("shop", wrapper);
        make(&dumps, slot()).await;
        let proved = dumps.prove(Level::L2, "20261121", &|_, _| {}, &never()).await;
        let error = proved.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Refused, "{error:?}");
        assert!(error.text.starts_with("it cannot be proved here: "), "{error:?}");
        assert!(error.text.contains("foreign-data wrapper"), "{error:?}");
    });
}
