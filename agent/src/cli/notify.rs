//! `groundcrew notify test`: does what people are told arrive?

use serde::Deserialize;

use super::args::NotifyCommand;
use super::terminal::Output;
use super::{EXIT_FAILING, EXIT_OK};
use crate::control::NotifyTest;
use crate::control::client::{ClientError, ControlClient};

pub(super) async fn run(
    command: &NotifyCommand,
    client: &ControlClient,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let NotifyCommand::Test { name } = command;
    let mut path = "/v1/notify/test".to_owned();
    if let Some(name) = name {
        let mut query = form_urlencoded::Serializer::new(String::new());
        path = format!("{path}?{}", query.append_pair("name", name).finish());
    }
    let json: serde_json::Value = client.post(&path).await?;
    let tests: Vec<NotifyTest> = Deserialize::deserialize(&json)
        .map_err(|source| ClientError::Answer { request: format!("POST {path}"), source })?;
    for test in &tests {
        let said = test.failed.as_deref().unwrap_or("it has the test message");
        out.print(&format!("{} ({}): {said}\n", test.name, test.kind))?;
    }
    let all = tests.iter().all(|test| test.failed.is_none());
    Ok(if all { EXIT_OK } else { EXIT_FAILING })
}
