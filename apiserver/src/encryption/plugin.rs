//! A plugin that encrypts keys (KMS v2, `k8s.io/kms` KeyManagementService), over a Unix socket: looked at once a minute. It never sees a value;
//! it encrypts a seed, and says with which of its keys. When that key changes there is a new seed, and what the old one was for is stale.
//!
//! While it does not answer, everything is read whose seed is known, and written for three minutes more; then writes fail, so that nothing is
//! written for long with a key that may have been withdrawn.

use hyper_util::rt::TokioIo;
use prost::Message;
use skiff_encryption::{DataKey, EncryptedObject, Kms, Sealing, SourceType, new_seed};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// How many decrypted seeds are kept. There is one for each start of a server and each key of the plugin.
const SEEDS_MAX: usize = 10_000;

/// How often a plugin is looked at, and how long its last answer holds (kube-apiserver's figures).
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) healthy: Duration,
    pub(super) failing: Duration,
    pub(super) write_for: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { healthy: seconds(60), failing: seconds(10), write_for: seconds(180) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusResponse {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(string, tag = "2")]
    pub(super) healthz: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
}

/// A plugin.
pub(super) struct Plugin {
    kms: Kms,
    pace: Pace,
    channel: Channel,
    /// With what is written, and until when.
    writing: RwLock<Option<(Arc<Sealing>, Instant)>>,
    /// Seeds that are known, by what they are encrypted as.
    seeds: RwLock<HashMap<Vec<u8>, Arc<DataKey>>>,
    /// What the last look found; at first, that there was none.
    found: Mutex<Result<(), String>>,
    version: Mutex<String>,
    /// Somebody waits for another key.
    rotated: Arc<Notify>,
}

impl Plugin {
    /// One that nobody has looked at yet; `rotated` is told when its key changes.
    pub(super) fn new(kms: &Kms, pace: Pace, rotated: Arc<Notify>) -> Self {
        let path = kms.socket.clone();
        let connector = service_fn(move |_: Uri| {
            // A path that begins with @ names an abstract socket, as in Kubernetes.
            let path = path.strip_prefix('@').map_or_else(|| path.clone(), |name| format!("\0{name}"));
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self {
            kms: kms.clone(),
            pace,
            channel,
            writing: RwLock::default(),
            seeds: RwLock::default(),
            found: Mutex::new(Err("it has not answered yet".to_owned())),
            version: Mutex::default(),
            rotated,
        }
    }

    /// Looks at it, again and again.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            let pause = if self.health().is_ok() { self.pace.healthy } else { self.pace.failing };
            tokio::time::sleep(pause).await;
            let _told_already = self.look().await;
        }
    }

    /// Looks at it once.
    ///
    /// # Errors
    /// It is not well: a sentence.
    pub(super) async fn look(&self) -> Result<(), String> {
        let looked = self
            .look_now()
            .await
            .map_err(|why| format!("kmsv2 Provider {} is not healthy, error: {why}", self.kms.name));
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Err(problem), true) = (&looked, found.is_ok() || *found != looked) {
            tracing::warn!(problem, "a KMS plugin");
        }
        found.clone_from(&looked);
        looked
    }

    /// What the last look found.
    ///
    /// # Errors
    /// It was not well: a sentence.
    pub(super) fn health(&self) -> Result<(), String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn look_now(&self) -> Result<(), String> {
        let until = Instant::now() + self.pace.write_for;
        let status: StatusResponse = self.call("Status", StatusRequest {}).await?;
        if status.healthz != "ok" {
            return Err(format!("got unexpected healthz status: {}", status.healthz));
        }
        self.check_version(&status.version)?;
        let known = self.writing();
        if let Some((sealing, _)) = known.as_ref().filter(|(sealing, _)| sealing.key_id() == status.key_id) {
            self.write_with(Arc::clone(sealing), until);
            return Ok(());
        }
        let sealing = self.new_sealing().await?;
        if sealing.key_id() != status.key_id {
            let (said, used) = (&status.key_id, sealing.key_id());
            return Err(format!("failed to rotate DEK: Status names the key {said:?}, Encrypt used {used:?}"));
        }
        self.write_with(Arc::new(sealing), until);
        if known.is_some() {
            tracing::info!(plugin = self.kms.name, key = status.key_id, "a KMS plugin has another key");
            self.rotated.notify_one();
        }
        Ok(())
    }

    fn check_version(&self, version: &str) -> Result<(), String> {
        if version != "v2" && version != "v2beta1" {
            return Err(format!("expected KMSv2 API version v2, got {version}"));
        }
        let mut known = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            version.clone_into(&mut known);
        }
        if *known == version {
            return Ok(());
        }
        Err(format!(
            "KMSv2 API version should not change after the initial status response version {known}, got {version}"
        ))
    }

    async fn new_sealing(&self) -> Result<Sealing, String> {
        let seed = new_seed().map_err(|error| error.to_string())?;
        let request = EncryptRequest { plaintext: seed.clone(), uid: uid() };
        let answer: EncryptResponse =
            self.call("Encrypt", request).await.map_err(|why| format!("failed to encrypt DEK, error: {why}"))?;
        Sealing::new(&seed, answer.key_id, answer.ciphertext, answer.annotations)
    }

    fn writing(&self) -> Option<(Arc<Sealing>, Instant)> {
        self.writing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write_with(&self, sealing: Arc<Sealing>, until: Instant) {
        *self.writing.write().unwrap_or_else(PoisonError::into_inner) = Some((sealing, until));
    }

    /// What is to stand behind the prefix for `plain` at `key`.
    ///
    /// # Errors
    /// It has not answered for too long: a sentence.
    pub(super) fn seal(&self, plain: &[u8], key: &[u8]) -> Result<Vec<u8>, String> {
        let why = || self.health().err().unwrap_or_default();
        let (sealing, until) = self.writing().ok_or_else(why)?;
        if Instant::now() > until {
            return Err(format!("the encrypted DEK of provider {} has expired: {}", self.kms.name, why()));
        }
        sealing.seal(plain, key).map_err(|error| error.to_string())
    }

    /// The value that `object` is, which stood at `key`; and whether it would be written otherwise now.
    ///
    /// # Errors
    /// The plugin does not decrypt its key, or it was damaged or moved: a sentence.
    pub(super) async fn open(&self, object: &EncryptedObject, key: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let source_type = SourceType::of(object.source_type).ok_or("unknown encryptedDEKSourceType")?;
        let writing = self.writing();
        let is_current = writing.as_ref().is_some_and(|(sealing, _)| sealing.key_id() == object.key_id);
        // Until the plugin has said which key it has nobody knows what is stale.
        let stale = writing.is_some() && !(is_current && source_type == SourceType::Seed);
        let source = object.source();
        let own = writing.as_ref().filter(|(sealing, _)| sealing.source() == source);
        let opened = match own {
            Some((sealing, _)) => sealing.key().open(&object.encrypted_data, key),
            None => self.seed(source, source_type, object).await?.open(&object.encrypted_data, key),
        };
        Ok((opened.map_err(|error| error.to_string())?, stale))
    }

    /// The seed of an object: known, or decrypted by the plugin.
    async fn seed(&self, source: Vec<u8>, kind: SourceType, object: &EncryptedObject) -> Result<Arc<DataKey>, String> {
        if let Some(seed) = self.seeds.read().unwrap_or_else(PoisonError::into_inner).get(&source) {
            return Ok(Arc::clone(seed));
        }
        let request = DecryptRequest {
            ciphertext: object.encrypted_source.clone(),
            uid: uid(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let answer: DecryptResponse =
            self.call("Decrypt", request).await.map_err(|why| format!("failed to decrypt DEK, error: {why}"))?;
        let seed = Arc::new(DataKey::new(kind, &answer.plaintext).map_err(|error| error.to_string())?);
        let mut seeds = self.seeds.write().unwrap_or_else(PoisonError::into_inner);
        if seeds.len() >= SEEDS_MAX {
            seeds.clear();
        }
        seeds.insert(source, Arc::clone(&seed));
        Ok(seed)
    }

    async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, String>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path: PathAndQuery =
            format!("/v2.KeyManagementService/{method}").parse().map_err(|_| "no such method".to_owned())?;
        let called = async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready().await.map_err(|error| skiff_client::sentence(&error))?;
            let answer = grpc.unary(tonic::Request::new(request), path, ProstCodec::<Q, A>::default()).await;
            answer.map(tonic::Response::into_inner).map_err(|status| {
                let because =
                    std::error::Error::source(&status).map(|error| format!(": {}", skiff_client::sentence(error)));
                format!("{}{}", status.message(), because.unwrap_or_default())
            })
        };
        let late = || format!("no answer to {method} within {} ms", self.kms.timeout.as_millis());
        tokio::time::timeout(self.kms.timeout, called).await.unwrap_or_else(|_| Err(late()))
    }
}

fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}
