//! Dumps of MariaDB, by the client that Debian has.

use groundcrew::backups::dump::restore::Target;
use groundcrew_core::backups::Kind;
use groundcrew_core::backups::call::Ticket;
use groundcrew_core::backups::proof::{DumpRules, Level, judge};

use super::{World, make, never, run, slot};
use crate::harness::emulator::Services;

#[test]
fn a_dump_of_mariadb_is_made_read_and_restored() {
    let world = World::new(Kind::MysqlDump, Services::S3);
    world.server.mysql(
        "use shop; create table customers (id int auto_increment primary key, name text, b blob);
         insert into customers (name, b) select concat('c', seq, '\\n''\\\\'), unhex(sha2(seq, 256))
           from seq_1_to_20000;
         create procedure p() select 1;
         create trigger t before insert on customers for each row set new.name = upper(new.name);",
    );
    let dumps = world.dumps();
    let port = world.server.port;
    let target = |database: &str| {
        Target::parse(&format!("mysql://app@127.0.0.1:{port}/{database}?sslmode=disable")).unwrap()
    };
    run(async {
        let facts = make(&dumps, slot()).await;
        assert!(facts.bytes > 1_000_000, "{facts:?}");
        assert_eq!(dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await, Ok(vec![]));
        dumps.restore_to("20261121", &target("again"), &|_, _| {}, &never()).await.unwrap();
        let error = dumps.restore_to("20261121", &target("again"), &|_, _| {}, &never()).await;
        assert!(error.unwrap_err().text.contains("over what is there"));
        let error = dumps.prove(Level::L2, "20261121", &|_, _| {}, &never()).await.unwrap_err();
        assert!(error.text.contains("cannot be proved here"), "{error:?}");
    });
    let sum = |database: &str| {
        let answer = world.server.mysql(&format!("checksum table {database}.customers extended"));
        answer.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(sum("again"), sum("shop"));
    let routines = "select count(*) from information_schema.routines where routine_schema='again'";
    assert_eq!(world.server.mysql(routines), "1");
}

#[test]
fn a_dump_of_a_database_that_is_not_there_is_no_dump() {
    let world = World::new(Kind::MysqlDump, Services::S3);
    let mut settings = world.settings();
    settings.job.database = "nosuch".into();
    let dumps = super::dumps(settings);
    match run(dumps.dump(Ticket(7), slot(), 1, never())) {
        Err(error) => assert!(error.text.contains("nosuch"), "{error:?}"),
        Ok(facts) => assert!(!judge(&facts, &DumpRules::default()).is_empty()),
    }
}
