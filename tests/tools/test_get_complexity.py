import pytest

from tools.analysis import get_complexity


@pytest.mark.parametrize(
    'config, parameters, gmacs, rows',
    [
        # Table 6: 27.96 M and 31.93 G, 27.96 M and 19.64 G, 16.48 G.
        (
            'apcnn_r50_cub.py',
            27.960,
            31.759,
            ['backbone', 'neck', 'gates', 'heads', 'refined'],
        ),
        ('ablation/fp_s_c.py', 27.960, 19.507, ['backbone', 'neck', 'gates', 'heads']),
        ('ablation/plain.py', 23.918, 16.349, ['backbone', 'heads']),
    ],
)
def test_table_6(run_main, config, parameters, gmacs, rows):
    done = run_main(get_complexity, f'configs/{config}')
    assert done.returncode == 0, done.stderr
    _, _, *parts, total = done.stdout[done.stdout.index('configs/') :].splitlines()
    assert [line.split()[0] for line in parts] == rows
    assert float(total.split()[1]) == pytest.approx(parameters)
    assert float(total.split()[3]) == pytest.approx(gmacs, rel=1e-3)
    assert sum(float(line.split()[-2]) for line in parts) == pytest.approx(gmacs, abs=0.01)
