//! What build machines do all day: git, pip, cargo and apt.

use std::path::PathBuf;
use std::{env, fs};

use crate::programs::stage::{Stage, noise, run, sha256};

#[tokio::test]
async fn git_clones_and_pushes() {
    let (stage, origin) = Stage::with_tls().await;
    let repository = origin.file("git/project.git");
    let repository = repository.to_str().unwrap();
    stage.run("git", &["init", "-q", "--bare", "-b", "main", repository]).await.good();
    stage.run("git", &["-C", repository, "config", "http.receivepack", "true"]).await.good();
    let url = origin.url("https", "a.example", "git/project.git");
    let author = ["-c", "user.name=a", "-c", "user.email=a@a.example"];

    stage.run("git", &["clone", "-q", &url, "first"]).await.good();
    // More than http.postBuffer (1 MiB), so that git sends it in chunks.
    stage.write("first/noise", noise(3 << 20));
    stage.run("git", &["-C", "first", "add", "."]).await.good();
    let commit = [&author[..], &["-C", "first", "commit", "-q", "-m", "noise"]].concat();
    stage.run("git", &commit).await.good();
    stage.run("git", &["-C", "first", "push", "-q", "origin", "HEAD:main"]).await.good();
    stage.run("git", &["clone", "-q", "--depth=1", &url, "second"]).await.good();
    assert!(fs::read(stage.at("second/noise")).unwrap() == noise(3 << 20));
    stage.gate.stop().await;
}

#[tokio::test]
async fn pip_downloads_from_an_index() {
    let (stage, origin) = Stage::with_tls().await;
    let wheel = origin.file("simple/tiny/tiny-1.0-py3-none-any.whl");
    let make = "
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr('tiny.py', '')
    wheel.writestr('tiny-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')
    wheel.writestr('tiny-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr('tiny-1.0.dist-info/RECORD', '')
";
    stage.python(make, &[&wheel]).await.good();
    let page = "<!DOCTYPE html><a href=\"tiny-1.0-py3-none-any.whl\">tiny-1.0-py3-none-any.whl</a>";
    fs::write(origin.file("simple/tiny/index.html"), page).unwrap();
    let index = origin.url("https", "a.example", "simple/");
    let mut pip = stage.command("/usr/bin/python3");
    pip.args(["-m", "pip", "download", "--no-cache-dir", "--disable-pip-version-check"]);
    pip.args(["--index-url", &index, "--dest", "wheels", "tiny"]);
    run(pip).await.good();
    assert_eq!(sha256(&stage.at("wheels/tiny-1.0-py3-none-any.whl")).await, sha256(&wheel).await);
    stage.gate.stop().await;
}

#[tokio::test]
async fn cargo_fetches_from_a_sparse_registry() {
    let (stage, origin) = Stage::with_tls().await;
    let package =
        |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n");
    stage.write("src/tiny-1.0.0/Cargo.toml", package("tiny"));
    stage.write("src/tiny-1.0.0/src/lib.rs", "");
    let crate_file = origin.file("crates/tiny/1.0.0/download");
    let archive = ["-czf", crate_file.to_str().unwrap(), "-C", "src", "tiny-1.0.0"];
    stage.run("tar", &archive).await.good();
    let sum = sha256(&crate_file).await;
    let entry = format!(
        r#"{{"name":"tiny","vers":"1.0.0","deps":[],"cksum":"{sum}","features":{{}},"yanked":false}}"#
    );
    fs::write(origin.file("index/ti/ny/tiny"), entry + "\n").unwrap();
    let downloads = origin.url("https", "a.example", "crates");
    fs::write(
        origin.file("index/config.json"),
        format!(r#"{{"dl":"{downloads}/{{crate}}/{{version}}/download"}}"#),
    )
    .unwrap();

    let index = origin.url("https", "a.example", "index/");
    stage.write(
        ".cargo/config.toml",
        format!("[source.crates-io]\nreplace-with = \"own\"\n[source.own]\nregistry = \"sparse+{index}\"\n"),
    );
    stage.write("user/Cargo.toml", package("user") + "[dependencies]\ntiny = \"1\"\n");
    stage.write("user/src/lib.rs", "");
    // The toolchain that runs this test, without rustup's ways around it.
    let cargo = PathBuf::from(env::var_os("CARGO").expect("cargo test says where cargo is"));
    let mut fetch = stage.command(&cargo);
    fetch.env("CARGO_HOME", stage.at(".cargo")).env("RUSTC", cargo.with_file_name("rustc"));
    fetch.args(["fetch", "--manifest-path", "user/Cargo.toml"]);
    run(fetch).await.good();
    let lock = fs::read_to_string(stage.at("user/Cargo.lock")).unwrap();
    assert!(lock.contains(&sum), "{lock}");
    stage.gate.stop().await;
}

#[tokio::test]
async fn apt_updates_and_downloads() {
    let (stage, origin) = Stage::with_plain().await;
    stage.write(
        "tiny/DEBIAN/control",
        "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@a.example>\nDescription: tiny\n",
    );
    let deb = origin.file("tiny_1.0_all.deb");
    stage
        .run("dpkg-deb", &["-Zgzip", "--root-owner-group", "-b", "tiny", deb.to_str().unwrap()])
        .await
        .good();
    let control = stage.run("dpkg-deb", &["-f", deb.to_str().unwrap()]).await.good();
    let (size, sum) = (fs::metadata(&deb).unwrap().len(), sha256(&deb).await);
    let entry = format!("{control}\nFilename: ./tiny_1.0_all.deb\nSize: {size}\nSHA256: {sum}\n");
    fs::write(origin.file("Packages"), entry).unwrap();

    let source = format!("deb [trusted=yes] {} ./\n", origin.url("http", "a.example", ""));
    stage.write("apt/sources.list", source);
    for directory in ["apt/state/lists/partial", "apt/cache/archives/partial", "apt/empty"] {
        fs::create_dir_all(stage.at(directory)).unwrap();
    }
    stage.write("apt/status", "");
    let settings = [
        ("Dir::Etc::SourceList", "apt/sources.list"),
        ("Dir::Etc::SourceParts", "apt/empty"),
        ("Dir::Etc::Parts", "apt/empty"),
        ("Dir::State", "apt/state"),
        ("Dir::State::status", "apt/status"),
        ("Dir::Cache", "apt/cache"),
    ]
    .map(|(setting, path)| format!("-o{setting}={}", stage.at(path).display()));
    let own = "-oAPT::Sandbox::User=root".to_owned();
    let proxy = format!("-oAcquire::http::Proxy={}", stage.proxy());
    let with = |command: &[&str]| -> Vec<String> {
        let settings = settings.iter().cloned().chain([own.clone(), proxy.clone()]);
        settings.chain(command.iter().map(ToString::to_string)).collect()
    };
    stage.run("apt-get", &with(&["update", "-oAPT::Update::Error-Mode=any"])).await.good();
    stage.run("apt-get", &with(&["download", "tiny"])).await.good();
    assert_eq!(sha256(&stage.at("tiny_1.0_all.deb")).await, sum);
    stage.gate.stop().await;
}
