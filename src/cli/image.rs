//! `skiff image`.

use super::{FolderArgs, Output};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `skiff image`.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    /// How to print images
    #[arg(short, long, value_enum, global = true, value_name = "FORM")]
    pub(crate) output: Option<Output>,
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make an image by a Dockerfile
    Build(BuildArgs),
    /// Make an image of programs, files and folders of this host
    FromHost(FromHostArgs),
    /// Add the images of a docker archive, an OCI archive or an OCI layout folder
    #[command(
        visible_alias = "load",
        after_help = "Examples:
  docker save busybox:1.36 -o busybox.tar; skiff image import busybox.tar
  skiff image import layout/ --name registry.example/team/app:2"
    )]
    Import {
        /// The archive or folder
        path: PathBuf,
        /// Name them so, instead of what the archive says
        #[arg(long, value_name = "IMAGE")]
        name: Option<String>,
    },
    /// Show the images
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  skiff image list
  skiff image list -o json --data-dir /var/lib/skiff-demo"
    )]
    List,
    /// Fetch images from their registries
    #[command(after_help = "Examples:
  skiff image pull registry.k8s.io/e2e-test-images/busybox:1.37.0-1
  skiff image pull 127.0.0.1:5000/team/app@sha256:… -u me:secret

Credentials come from -u, or from the files of podman and Docker (REGISTRY_AUTH_FILE, ~/.config/containers/auth.json,
~/.docker/config.json). Mirrors, authorities and registries without TLS stand in certs.d/REGISTRY/hosts.toml in the data
folder, in containerd's form. skiff.local/demo is built here.")]
    Pull {
        /// Their names
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        /// Who to be to the registry
        #[arg(short, long, value_name = "NAME:PASSWORD")]
        user: Option<String>,
    },
    /// Put images into registries
    #[command(after_help = "Examples:
  skiff image push 127.0.0.1:5000/team/app:2
  skiff image push skiff.local/app:1 --to registry.example/team/app:1")]
    Push {
        /// Its name or id
        image: String,
        /// Its name there [default: the same]
        #[arg(long, value_name = "IMAGE")]
        to: Option<String>,
        /// Who to be to the registry
        #[arg(short, long, value_name = "NAME:PASSWORD")]
        user: Option<String>,
    },
    /// Give an image one more name
    #[command(after_help = "Example:
  skiff image tag skiff.local/app:1 registry.example/team/app:1")]
    Tag {
        /// Its name or id
        image: String,
        /// The new name
        name: String,
    },
    /// Write images into an archive that skiff, docker, podman and skopeo read
    #[command(after_help = "Example:
  skiff image save -f app.tar skiff.local/app:1 skiff.local/hello:1")]
    Save {
        /// The archive
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Names or ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Show all that is known of images
    #[command(after_help = "Example:
  skiff image inspect skiff.local/demo -o yaml")]
    Inspect {
        /// Names or ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Show how an image was made
    #[command(after_help = "Example:
  skiff image history skiff.local/demo")]
    History {
        /// Its name or id
        image: String,
    },
    /// Show what room images take, alone and with others
    #[command(after_help = "Example:
  skiff image du")]
    Du,
    /// Remove images that have no name, or all that no container uses
    #[command(after_help = "Example:
  skiff image prune --all")]
    Prune {
        /// All that no container uses
        #[arg(short, long)]
        all: bool,
    },
    /// Keep images from being removed to make room
    #[command(after_help = "Example:
  skiff image pin skiff.local/demo")]
    Pin {
        /// Names or ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        /// Let them be removed again
        #[arg(long)]
        undo: bool,
    },
    /// Read everything in the store, and compare it with what it was
    #[command(after_help = "Example:
  skiff image verify --mend")]
    Verify {
        /// Make layers anew that are damaged, and forget images that cannot be mended
        #[arg(long)]
        mend: bool,
    },
    /// Remove images
    #[command(
        visible_alias = "rm",
        after_help = "Example:
  skiff image remove skiff.local/hello:1"
    )]
    Remove {
        /// Names or ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
}

/// `skiff image build`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff image build -t skiff.local/app:1 .
  skiff image build -t registry.example/team/app:2 -f deploy/Dockerfile --build-arg VERSION=2 --target release .
  SOURCE_DATE_EPOCH=0 skiff image build -t skiff.local/app:1 .       the same files give the same image

No daemon is asked. FROM (images, scratch, stages), COPY and ADD of files and archives, RUN in a container, ENV, ARG, WORKDIR, USER,
ENTRYPOINT, CMD, LABEL, EXPOSE, VOLUME, STOPSIGNAL, SHELL, HEALTHCHECK and .dockerignore are implemented; what is not is refused with its
line. Steps that were done before are found in the images that are here.")]
pub(crate) struct BuildArgs {
    /// The folder whose files COPY takes
    #[arg(value_name = "FOLDER")]
    pub(crate) context: PathBuf,
    /// The image's name (may be repeated)
    #[arg(short, long = "tag", value_name = "IMAGE")]
    pub(crate) tags: Vec<String>,
    /// The Dockerfile, or - for standard input [default: Dockerfile or Containerfile in the folder]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The value of an ARG; without a value it is the variable's of this name (may be repeated)
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) args: Vec<String>,
    /// The stage that is wanted [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Do all steps again
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Ask registries for base images that are here
    #[arg(long)]
    pub(crate) pull: bool,
    /// The network of RUN
    #[arg(long, value_enum, default_value = "host", value_name = "NETWORK")]
    pub(crate) network: BuildNetwork,
    /// How layers are packed
    #[arg(long, value_enum, default_value = "gzip", value_name = "FORM")]
    pub(crate) compression: LayerForm,
    /// No time in the image is later, in seconds since 1970 [default: the variable SOURCE_DATE_EPOCH, if it is set]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) source_date_epoch: Option<i64>,
}

/// Which network a RUN has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BuildNetwork {
    /// This machine's
    Host,
    /// None
    None,
}

/// How layers are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayerForm {
    /// What everybody reads
    Gzip,
    /// Smaller and faster
    Zstd,
    /// Not at all
    None,
}

/// `skiff image from-host`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff image from-host --tag demo/bash /bin/bash
  skiff image from-host -t skiff.local/clock:1 /bin/busybox clock.sh:/clock.sh -- /bin/busybox sh /clock.sh
  skiff image from-host -t skiff.local/app:1 target/release/app:/app /etc/ssl/certs --env LANG=C -- /app --port 80
  debootstrap --variant=minbase bookworm root; skiff image from-host -t skiff.local/debian:12 root:/ -- /bin/bash

Programs bring the shared libraries that they need, and the loader.")]
pub(crate) struct FromHostArgs {
    /// Files and folders of this host, and where they stand in the image [default: the same path]
    #[arg(required = true, value_name = "PATH[:PATH]")]
    pub(crate) add: Vec<String>,
    /// The image's name
    #[arg(short = 't', long = "tag", value_name = "IMAGE")]
    pub(crate) name: String,
    /// A variable of the container's environment (may be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// The working folder
    #[arg(short, long, default_value = "/", value_name = "DIR")]
    pub(crate) workdir: String,
    /// The user: a name or a number, with :GROUP if that is another
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The program and its arguments, after -- [default: the first path, if that is a program]
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}
