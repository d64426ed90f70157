//! What the host's file says about metrics, checked.

/// The name that CloudWatch keeps the metrics below, unless the file says otherwise.
pub const NAMESPACE: &str = "groundcrew";
/// Series of the application's own metrics that are sent, unless the file says otherwise: 30 USD a
/// month at list price, for the whole fleet.
pub const SERIES_MAX: usize = 100;

/// `[metrics]` of the host's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Where metrics are sent; they can be scraped in any case.
    pub to: Destination,
    /// The name that CloudWatch keeps them below.
    pub namespace: String,
    /// Whether every series is sent a second time for each instance.
    pub per_instance: bool,
    /// Tags of the application's metrics that become dimensions.
    pub dimensions: Vec<String>,
    /// Series of the application's metrics that are sent.
    pub series_max: usize,
    /// What things cost.
    pub prices: Prices,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            to: Destination::CloudWatch,
            namespace: NAMESPACE.to_owned(),
            per_instance: false,
            dimensions: Vec::new(),
            series_max: SERIES_MAX,
            prices: Prices::default(),
        }
    }
}

/// Where metrics are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// CloudWatch.
    CloudWatch,
    /// Nowhere.
    Nowhere,
}

/// Prices, in millionths of a USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Of a custom metric for a month.
    pub metric_micro_usd: u64,
    /// Of 1,000 requests of `PutMetricData`.
    pub put_metric_data_micro_usd: u64,
    /// Of a gigabyte (10^9 bytes) of log events.
    pub logs_micro_usd: u64,
    /// Of 1,000 requests of S3's `GetObject`.
    pub s3_get_micro_usd: u64,
}

/// When and for which region the prices of [`Prices::default`] are.
pub const PRICES_AS_OF: &str = "February 2026, us-east-1";

impl Default for Prices {
    /// List prices as of [`PRICES_AS_OF`] (aws.amazon.com/cloudwatch/pricing and
    /// aws.amazon.com/s3/pricing), without free tiers and discounts for volume.
    fn default() -> Self {
        Self {
            metric_micro_usd: 300_000,
            put_metric_data_micro_usd: 10_000,
            logs_micro_usd: 500_000,
            s3_get_micro_usd: 400,
        }
    }
}
