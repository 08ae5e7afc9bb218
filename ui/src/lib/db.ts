/** Conversations and benchmark runs in the browser's own database: large, and it says when it cannot keep something. */

export type Store = 'conversations' | 'runs';

let opening: Promise<IDBDatabase> | null = null;

function open(): Promise<IDBDatabase> {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('swapyard', 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore('conversations', { keyPath: 'id' });
      request.result.createObjectStore('runs', { keyPath: 'id' });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('the database cannot be opened'));
  });
  return opening;
}

async function run<T>(store: Store, mode: IDBTransactionMode, action: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(store, mode);
    const request = action(transaction.objectStore(store));
    // A write counts when the transaction is complete: the quota is checked there.
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = () => reject(transaction.error ?? new Error('not stored'));
    transaction.onabort = () => reject(transaction.error ?? new Error('not stored'));
  });
}

export const all = <T>(store: Store): Promise<T[]> => run(store, 'readonly', (entries) => entries.getAll() as IDBRequest<T[]>);
export const put = async (store: Store, value: { id: string }): Promise<void> => {
  await run(store, 'readwrite', (entries) => entries.put(value));
};
export const remove = async (store: Store, id: string): Promise<void> => {
  await run(store, 'readwrite', (entries) => entries.delete(id));
};

/** Short, unique, sortable by time. */
export function newId(): string {
  const random = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  return `${Date.now().toString(36)}-${random.toString(36)}`;
}
