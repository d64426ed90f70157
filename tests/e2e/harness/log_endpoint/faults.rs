//! What goes wrong at the endpoint. Data alone: `service` acts on it.

use std::time::Duration;

/// Everything that can go wrong, at once if wanted. Shares are percent of the `PutLogEvents` calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Before each answer.
    pub latency: Duration,
    /// Between the bytes of each answer.
    pub trickle: Duration,
    /// Requests are read and not answered as long as this lasts.
    pub hang: bool,
    /// Answered with `ThrottlingException`.
    pub throttled_percent: u32,
    /// Answered with 500.
    pub error_percent: u32,
    /// Accepted, but the connection breaks instead of an answer.
    pub reply_lost_percent: u32,
    /// More calls a second are throttled.
    pub puts_per_second_max: Option<u32>,
    /// Every call is refused.
    pub refusal: Option<Refusal>,
    /// Groups and streams may not be created.
    pub create_denied: bool,
    /// A batch with this text in one of its messages is refused.
    pub poison: Option<String>,
}

/// Why every call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `ExpiredTokenException`
    ExpiredToken,
    /// `UnrecognizedClientException`
    UnknownKey,
    /// `InvalidSignatureException`, as a host gets it whose clock is wrong.
    ClockSkew,
    /// `ServiceUnavailableException`
    Unavailable,
}

impl Refusal {
    /// The status and the names of the error, as AWS gives them.
    pub(super) fn answer(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::ExpiredToken => {
                (400, "ExpiredTokenException", "The security token included has expired")
            }
            Self::UnknownKey => {
                (400, "UnrecognizedClientException", "The security token included is invalid")
            }
            Self::ClockSkew => (
                400,
                "InvalidSignatureException",
                "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z",
            ),
            Self::Unavailable => (503, "ServiceUnavailableException", "Try again later"),
        }
    }
}

/// What becomes of one `PutLogEvents`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted,
    Throttled,
    Failed,
    AnswerLost,
}

/// Draws fates: the same sequence in every run.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// 0 to 99 (xorshift64).
    fn percent(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % 100).unwrap_or_default()
    }

    pub(super) fn draw(&mut self, faults: &Faults) -> Fate {
        let mut drawn = self.percent();
        for (share, fate) in [
            (faults.throttled_percent, Fate::Throttled),
            (faults.error_percent, Fate::Failed),
            (faults.reply_lost_percent, Fate::AnswerLost),
        ] {
            match drawn.checked_sub(share) {
                None => return fate,
                Some(rest) => drawn = rest,
            }
        }
        Fate::Accepted
    }
}
