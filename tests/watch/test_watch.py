"""``sb3-qflex watch``: what is drawn, from where, and the command from a model to its files."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers.small_models import small_model
from PIL import Image
from stable_baselines3 import SAC

import sb3_qflex.envs  # noqa: F401 registers the ids
from sb3_qflex import DynSynPPO, LatticePPO
from sb3_qflex.cli import main as command
from sb3_qflex.watch import camera, film, overlay
from sb3_qflex.watch.episode import Episode, Moment, propose
from sb3_qflex.watch.subject import open_subject

MOMENT = Moment(0, 3, 0.06, -0.5, 1.5, 10.0, 12.0, np.array([0.5, -1.0], np.float32))
CHAIN = ("PlanarChain-v0", "n_links: 5")


@pytest.fixture(scope="module")
def chain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of a chain of five links."""
    path = tmp_path_factory.mktemp("watch") / "chain.zip"
    small_model(gym.make("PlanarChain-v0", n_links=5)).save(path)
    return path


# --- What is drawn ---


def test_text_changes_its_corner_only_and_differs_with_its_numbers() -> None:
    picture = np.full((240, 320, 3), 200, np.uint8)
    written = overlay.write(picture, overlay.lines_of(MOMENT, "flow"))
    changed = (written != picture).any(axis=2)
    assert changed[:60, :60].mean() > 0.95 and not changed[100:].any() and not changed[:, 250:].any()
    assert (picture == 200).all()
    other = overlay.write(picture, ["t 0.07 s"])
    assert (written != other).any()


def test_lines_name_both_actions() -> None:
    assert overlay.lines_of(MOMENT, "flow") == [
        "t 0.06 s   step 3",
        "reward -0.5   return 1.5",
        "Q source 10",
        "Q flow 12   (+2)",
    ]
    assert overlay.lines_of(MOMENT, "source")[2:] == ["Q source 10"]


def bar_heights(strip: np.ndarray) -> list[int]:
    """Rows that are neither empty nor background, in the middle of each of four equal columns."""
    bars = strip[overlay.CAPTION_HEIGHT :]
    quarter = strip.shape[1] // 4
    return [int((bars[:, quarter * n + quarter // 2] != overlay._EMPTY).any(axis=1).sum()) for n in range(4)]


def test_bars_are_as_high_as_the_values() -> None:
    strip = overlay.strip(np.array([0.0, 0.5, 1.0, 7.0]), 200, "caption")
    assert strip.shape == (overlay.STRIP_HEIGHT, 200, 3)
    full = overlay.BARS_HEIGHT
    assert bar_heights(strip) == [0, full // 2, full, full]


def test_signed_bars_start_from_the_middle() -> None:
    bars = overlay.strip(np.array([1.0, -1.0, 0.0, 0.5]), 200, "", signed=True)[overlay.CAPTION_HEIGHT :]
    half = overlay.BARS_HEIGHT // 2
    up, down = ((bars[:, column] != overlay._EMPTY).any(axis=1) for column in (25, 75))
    assert up[:half].all() and not up[half:].any()
    assert down[half:].all() and not down[:half].any()


def test_more_muscles_than_pixels() -> None:
    strip = overlay.strip(np.repeat([0.0, 1.0], 500), 100, "")
    assert bar_heights(strip) == [0, 0, overlay.BARS_HEIGHT, overlay.BARS_HEIGHT]


def test_frame_is_picture_over_strip() -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    with_actions = overlay.compose(picture, MOMENT, "flow", None)
    with_muscles = overlay.compose(picture, MOMENT, "flow", np.array([0.5, 0.1]))
    assert with_actions.shape == with_muscles.shape == (120 + overlay.STRIP_HEIGHT, 160, 3)
    assert (with_actions[:120] == with_muscles[:120]).all()
    assert (with_actions[120:] != with_muscles[120:]).any()


def test_scaled_pictures_keep_proportions_and_have_even_sides() -> None:
    assert camera.fit(np.zeros((100, 333, 3), np.uint8), 640, 480).shape == (192, 640, 3)
    assert camera.fit(np.zeros((480, 480, 3), np.uint8), 321, 1000).shape == (320, 320, 3)


def test_gif_has_few_colours_and_keeps_the_films_duration(tmp_path: Path) -> None:
    frames = film.GifFrames(fps=25.0, width=80)
    rng = np.random.default_rng(0)
    for _ in range(10):
        frames.add(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8))
    frames.save(tmp_path / "a.gif", colours=16)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (80, 60) and gif.n_frames == 5 and gif.info["duration"] == 80
        assert len(gif.convert("RGB").getcolors()) <= 16


# --- From where ---

FALLING = """
<mujoco><worldbody>
  <light pos="0 0 9"/>
  <body name="small" pos="9 9 1"><joint type="hinge"/><geom size=".01"/></body>
  <body name="big" pos="0 0 0">{joint}<geom size=".5" rgba="1 0 0 1"/>
    <body pos="0 0 .6"><joint type="hinge" axis="1 0 0"/><geom size=".2" rgba="1 0 0 1"/></body></body>
</worldbody></mujoco>
"""


class FallingEnv(gym.Env):
    """A MuJoCo model and its data, as MuJoCo environments have them."""

    def __init__(self, joint: str) -> None:
        mujoco = pytest.importorskip("mujoco")
        self.model = mujoco.MjModel.from_xml_string(FALLING.format(joint=joint))
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)


@pytest.mark.parametrize(
    ("joint", "name"),
    [
        ("<freejoint/>", "big"),
        ('<joint type="slide" axis="1 0 0"/>', "big"),
        ('<joint type="hinge"/>', None),
        ("", None),
    ],
)
def test_the_camera_follows_the_heaviest_body_that_can_leave(joint: str, name: str | None) -> None:
    import mujoco

    env = FallingEnv(joint)
    root = camera.moving_root(env.model)
    assert (None if root is None else env.model.body(root).name) == name
    framing = camera.framing_camera(env.model, env.data, camera.View())
    assert (framing.type == mujoco.mjtCamera.mjCAMERA_TRACKING) == (name is not None)
    assert framing.distance > 1.0


def can_render() -> bool:
    try:
        import mujoco

        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    except Exception:  # whatever a machine without a screen and without EGL raises
        return False
    return True


def test_a_body_stays_in_the_picture_however_far_it_moves() -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot draw here; MUJOCO_GL=egl lets it draw without a screen")
    import mujoco

    env = FallingEnv("<freejoint/>")
    draw, finish = camera.photographer(env, camera.View(64, 48))
    shares = []
    for position in (0.0, 50.0):
        env.data.qpos[env.model.joint(1).qposadr[0]] = position
        mujoco.mj_forward(env.model, env.data)
        picture = draw().astype(int)
        shares.append(np.mean(picture[..., 0] > 2 * picture[..., 1] + 5))
    finish()
    assert picture.shape == (48, 64, 3)
    assert shares[0] > 0.05 and shares[1] == pytest.approx(shares[0], abs=0.01)


def test_cameras_that_are_not_there() -> None:
    with pytest.raises(ValueError, match=r"camera 'top' is none of this environment's MuJoCo model, which has \[\]"):
        camera.photographer(FallingEnv("<freejoint/>"), camera.View(camera="top"))
    with pytest.raises(ValueError, match="camera 'top' is none"):
        camera.photographer(gym.make("PlanarChain-v0").unwrapped, camera.View(camera="top"))


def test_muscles_are_found() -> None:
    mujoco = pytest.importorskip("mujoco")
    env = FallingEnv("<freejoint/>")
    assert overlay.muscles(env) is None and overlay.muscles(gym.make("PlanarChain-v0").unwrapped) is None
    actuators = '<motor joint="j"/><muscle joint="j" lengthrange="0 1"/><muscle joint="j" lengthrange="0 1"/>'
    env.model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><body><joint name="j"/><geom size="1"/></body></worldbody><actuator>{actuators}</actuator>'
        "</mujoco>"
    )
    env.data = mujoco.MjData(env.model)
    env.data.act[:] = 0.25, 0.75
    values = overlay.muscles(env)
    assert values is not None and values.tolist() == [0.25, 0.75]


# --- The policy and the command ---


@pytest.mark.parametrize("exploration", ["flow", "source", "ascent"])
def test_proposals_are_what_predict_executes(exploration: str) -> None:
    model = small_model(exploration=exploration)
    observation = np.ones((5, 3), np.float32)
    source, executed, q_source, q_executed = propose(model.policy, model.policy.obs_to_tensor(observation)[0], True)
    actions = model.predict(observation, deterministic=True)[0]
    np.testing.assert_allclose(model.policy.unscale_action(executed.numpy()), actions, rtol=1e-6)
    assert (source == executed).all() == (exploration == "source")
    assert (q_source == q_executed).all() == (exploration == "source")


def test_any_episode_can_be_played_alone(chain_model: Path) -> None:
    subject = open_subject(chain_model, "PlanarChain-v0", {"n_links": 5})
    first, second = Episode(subject, 1, seed=3, deterministic=False), Episode(subject, 4, deterministic=False)
    moments = list(first)
    assert len(moments) == first.steps == 50 and moments[0].time == 0.0 and moments[-1].time == pytest.approx(49 / 25)
    assert moments[-1].total == pytest.approx(sum(moment.reward for moment in moments))
    list(Episode(subject, 2))
    again = list(second)
    assert [moment.q_executed for moment in again] == [moment.q_executed for moment in moments]
    assert list(Episode(subject, 0, max_steps=4))[-1].step == 3


def watch(*words: object) -> None:
    command.main(["watch", *map(str, words)])


def test_from_a_model_to_mp4_and_gif(chain_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imageio = pytest.importorskip("imageio.v2")
    pytest.importorskip("imageio_ffmpeg")
    options = ("--env", CHAIN[0], "--env-kwargs", CHAIN[1], "--max-steps", 6, "--every", 2, "--episodes", 0, 7)
    size = ("--width", 160, "--height", 120, "--flow-steps", 1)
    watch(chain_model, "--out", tmp_path / "a.mp4", "--gif", tmp_path / "a.gif", *options, *size)
    with imageio.get_reader(tmp_path / "a.mp4") as video:
        assert video.count_frames() == 6
        assert video.get_meta_data()["fps"] == 12.5
        assert video.get_data(0).shape == (120 + overlay.STRIP_HEIGHT, 120, 3)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 6
    out = capsys.readouterr().out
    assert "Episode 0: 6 steps, return -" in out and "Episode 7: 6 steps" in out


def test_videos_go_beside_the_model_and_replace_nothing(chain_model: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    for _ in range(2):
        watch(chain_model, "--env", CHAIN[0], "--env-kwargs", CHAIN[1], "--max-steps", 2, "--width", 32)
    assert {path.name for path in chain_model.parent.glob("*.mp4")} == {"watch_1.mp4", "watch_2.mp4"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "is not in a run folder of RL Zoo: say with --env"),
        (("--env", "PlanarChain-v0", "--camera", "top"), "camera 'top' is none of this environment's MuJoCo model"),
    ],
)
def test_what_cannot_be_watched(chain_model: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    if words:
        words = (*words, "--env-kwargs", CHAIN[1])
    with pytest.raises(SystemExit, match=message):
        watch(chain_model, *words, "--gif", tmp_path / "a.gif")
    with pytest.raises(SystemExit, match=r"There is no model .*no\.zip"):
        watch(chain_model.with_name("no.zip"), "--env", CHAIN[0])


def test_existing_files_are_refused(chain_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.gif").write_bytes(b"mine")
    with pytest.raises(SystemExit):
        watch(chain_model, "--gif", tmp_path / "a.gif")
    assert "must not exist yet" in capsys.readouterr().err
    assert (tmp_path / "a.gif").read_bytes() == b"mine"


def test_missing_folders_are_told_before_anything_is_drawn(
    chain_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        watch(chain_model, "--gif", tmp_path / "no/a.gif")
    assert f"there is no folder {tmp_path / 'no'}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--env", "Pendulum-v1"), ("--flow-steps", "1"), ("--env-kwargs", "a: 1")], ids=str)
def test_a_trained_policy_has_its_own_settings(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["watch", "--pretrained", "torso-pose", *words])
    assert "are for a model: a trained policy has its own" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", [SAC, LatticePPO, DynSynPPO])
def test_models_of_other_algorithms_act_as_they_predict(algorithm: Any, tmp_path: Path) -> None:
    env = gym.make("PlanarChain-v0", n_links=5)
    groups = {"groups": [[0, 2], [1, 3, 4]]} if algorithm is DynSynPPO else {}
    model = algorithm("MlpPolicy", env, policy_kwargs={"net_arch": [8], **groups}, seed=0, device="cpu")
    model.save(tmp_path / "model.zip")
    subject = open_subject(tmp_path / "model.zip", "PlanarChain-v0", {"n_links": 5})
    assert type(subject.model) is algorithm
    episode = Episode(subject, 0, max_steps=3)
    seen = list(episode)
    subject.env.seed(0)
    observation, total = subject.env.reset(), 0.0
    for moment in seen:
        action, _ = model.predict(observation, deterministic=True)
        np.testing.assert_allclose(moment.action, action[0], atol=1e-6)
        assert moment.q_source is None
        observation, rewards, *_ = subject.env.step(action)
        total += float(rewards[0])
    assert episode.total == pytest.approx(total) and overlay.lines_of(seen[0], "source")[2:] == []
    with pytest.raises(ValueError, match=f"{algorithm.__name__} model without a flow: leave out --flow-steps"):
        open_subject(tmp_path / "model.zip", "PlanarChain-v0", {"n_links": 5}, flow_steps=3)
