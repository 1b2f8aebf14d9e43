CREATE TABLE backtest_results (
    hour_ms BIGINT NOT NULL,
    timeframe TEXT NOT NULL,
    symbol TEXT NOT NULL,
    strategy TEXT NOT NULL,
    parameters TEXT NOT NULL,
    scan_id TEXT NOT NULL,
    bars BIGINT NOT NULL,
    total_trades BIGINT NOT NULL,
    win_rate DOUBLE PRECISION NOT NULL,
    profit_factor DOUBLE PRECISION NOT NULL,
    total_return DOUBLE PRECISION NOT NULL,
    max_drawdown DOUBLE PRECISION NOT NULL,
    sharpe_ratio DOUBLE PRECISION NOT NULL,
    total_pnl DOUBLE PRECISION NOT NULL,
    confidence_avg DOUBLE PRECISION NOT NULL,
    fees_paid DOUBLE PRECISION NOT NULL,
    funding_paid DOUBLE PRECISION NOT NULL,
    exposure_pct DOUBLE PRECISION NOT NULL,
    skewness DOUBLE PRECISION NOT NULL,
    kurtosis DOUBLE PRECISION NOT NULL,
    in_sample_trades BIGINT NOT NULL,
    in_sample_score DOUBLE PRECISION NOT NULL,
    in_sample_pnl DOUBLE PRECISION NOT NULL,
    out_of_sample_trades BIGINT NOT NULL,
    out_of_sample_pnl DOUBLE PRECISION NOT NULL,
    p_value DOUBLE PRECISION,
    configurations BIGINT NOT NULL,
    configurations_traded BIGINT NOT NULL,
    sharpe_mean DOUBLE PRECISION NOT NULL,
    sharpe_spread DOUBLE PRECISION NOT NULL,
    error TEXT,
    PRIMARY KEY (hour_ms, timeframe, symbol, strategy, parameters)
);

CREATE TABLE candle_coverage (
    hour_ms BIGINT NOT NULL,
    timeframe TEXT NOT NULL,
    symbol TEXT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    bars BIGINT NOT NULL,
    expected_bars BIGINT NOT NULL,
    missing_bars BIGINT NOT NULL,
    coverage_pct DOUBLE PRECISION NOT NULL,
    content_hash TEXT NOT NULL,
    PRIMARY KEY (hour_ms, timeframe, symbol)
);

CREATE TABLE closings (
    order_id VARCHAR(64) NOT NULL,
    account VARCHAR(32) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    position_side VARCHAR(5) NOT NULL,
    reason VARCHAR(16) NOT NULL,
    qty TEXT NOT NULL,
    entry_price TEXT NOT NULL,
    exit_price TEXT NOT NULL,
    pnl TEXT NOT NULL,
    fees TEXT NOT NULL,
    signal_id TEXT,
    closed_ms BIGINT NOT NULL,
    PRIMARY KEY (order_id)
);

CREATE TABLE entry_signals (
    signal_id TEXT NOT NULL,
    hour_ms BIGINT NOT NULL,
    account TEXT NOT NULL,
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    strategy TEXT NOT NULL,
    parameters TEXT NOT NULL,
    signal_timestamp_ms BIGINT NOT NULL,
    ttl_ms BIGINT NOT NULL,
    confidence DOUBLE PRECISION NOT NULL,
    position_type TEXT NOT NULL,
    entry_price DOUBLE PRECISION NOT NULL,
    stop_loss DOUBLE PRECISION NOT NULL,
    take_profit DOUBLE PRECISION NOT NULL,
    position_size DOUBLE PRECISION NOT NULL,
    leverage DOUBLE PRECISION NOT NULL,
    rsi DOUBLE PRECISION,
    bb_position DOUBLE PRECISION,
    btc_trend TEXT,
    funding_rate DOUBLE PRECISION,
    risk_reward_ratio DOUBLE PRECISION NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    order_link_id TEXT,
    order_id TEXT,
    executed_at_ms DOUBLE PRECISION,
    executed_price DOUBLE PRECISION,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (signal_id)
);

CREATE TABLE equity (
    equity_id SERIAL NOT NULL,
    account VARCHAR(32) NOT NULL,
    equity TEXT NOT NULL,
    wallet_balance TEXT NOT NULL,
    available TEXT NOT NULL,
    unrealised_pnl TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (equity_id)
);

CREATE TABLE fills (
    exec_id VARCHAR(64) NOT NULL,
    account VARCHAR(32) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    order_id TEXT NOT NULL,
    order_link_id TEXT NOT NULL,
    side VARCHAR(4) NOT NULL,
    exec_type VARCHAR(24) NOT NULL,
    price TEXT NOT NULL,
    qty TEXT NOT NULL,
    value TEXT NOT NULL,
    fee TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (exec_id)
);

CREATE TABLE funding_coverage (
    hour_ms BIGINT NOT NULL,
    symbol TEXT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    payments BIGINT NOT NULL,
    last_rate DOUBLE PRECISION,
    content_hash TEXT NOT NULL,
    PRIMARY KEY (hour_ms, symbol)
);

CREATE TABLE market_scan (
    hour_ms BIGINT NOT NULL,
    scan_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    rank BIGINT NOT NULL,
    price DOUBLE PRECISION NOT NULL,
    volume_24h DOUBLE PRECISION NOT NULL,
    price_change_24h DOUBLE PRECISION NOT NULL,
    volatility_24h DOUBLE PRECISION NOT NULL,
    size_error_pct DOUBLE PRECISION NOT NULL,
    timestamp_ms BIGINT NOT NULL,
    PRIMARY KEY (hour_ms, symbol)
);

CREATE TABLE order_events (
    event_id SERIAL NOT NULL,
    order_link_id VARCHAR(36) NOT NULL,
    status VARCHAR(16) NOT NULL,
    detail TEXT,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (event_id)
);

CREATE INDEX ix_order_events_order_link_id ON order_events (order_link_id);

CREATE TABLE order_intents (
    order_link_id VARCHAR(36) NOT NULL,
    signal_id TEXT NOT NULL,
    account VARCHAR(32) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    side VARCHAR(4) NOT NULL,
    qty TEXT NOT NULL,
    stop_loss TEXT NOT NULL,
    take_profit TEXT NOT NULL,
    leverage TEXT NOT NULL,
    status VARCHAR(16) NOT NULL,
    open_slot VARCHAR(100),
    order_id TEXT,
    filled_qty TEXT,
    average_price TEXT,
    reason TEXT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    touched_wall_ms BIGINT NOT NULL,
    PRIMARY KEY (order_link_id),
    UNIQUE (signal_id),
    UNIQUE (open_slot)
);

CREATE TABLE positions (
    account VARCHAR(32) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    side VARCHAR(4) NOT NULL,
    size TEXT NOT NULL,
    entry_price TEXT NOT NULL,
    mark_price TEXT NOT NULL,
    leverage TEXT NOT NULL,
    unrealised_pnl TEXT NOT NULL,
    liquidation_price TEXT,
    stop_loss TEXT,
    take_profit TEXT,
    opened_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (account, symbol)
);

CREATE TABLE reconciliations (
    reconciliation_id SERIAL NOT NULL,
    account VARCHAR(32) NOT NULL,
    new_fills INTEGER NOT NULL,
    new_closings INTEGER NOT NULL,
    open_positions INTEGER NOT NULL,
    differences INTEGER NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (reconciliation_id)
);

CREATE TABLE risk_events (
    event_id SERIAL NOT NULL,
    account VARCHAR(32) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    symbol VARCHAR(64),
    detail TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (event_id)
);

CREATE TABLE strategies (
    name VARCHAR(64) NOT NULL,
    is_active BOOLEAN NOT NULL,
    exchange VARCHAR(32) NOT NULL,
    pairs TEXT NOT NULL,
    timeframes TEXT NOT NULL,
    parameters TEXT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE strategy_selections (
    hour_ms BIGINT NOT NULL,
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    strategy TEXT NOT NULL,
    parameters TEXT NOT NULL,
    scan_id TEXT NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    total_trades BIGINT NOT NULL,
    win_rate DOUBLE PRECISION NOT NULL,
    profit_factor DOUBLE PRECISION NOT NULL,
    max_drawdown DOUBLE PRECISION NOT NULL,
    total_pnl DOUBLE PRECISION NOT NULL,
    confidence_avg DOUBLE PRECISION NOT NULL,
    configurations_tried BIGINT NOT NULL,
    deflated_sharpe DOUBLE PRECISION NOT NULL,
    p_value DOUBLE PRECISION,
    out_of_sample_trades BIGINT NOT NULL,
    out_of_sample_pnl DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (hour_ms, symbol)
);
